-- The catalog and the index of evaluations. NULL is unknown, never 0.

CREATE TABLE sources (
    key VARCHAR PRIMARY KEY,
    title VARCHAR NOT NULL,
    url VARCHAR NOT NULL,
    version VARCHAR,
    licence VARCHAR,
    publisher_type VARCHAR
);
COMMENT ON TABLE sources IS 'Where models are listed or published';
COMMENT ON COLUMN sources.version IS 'Of the package or commit that was read';
COMMENT ON COLUMN sources.publisher_type IS 'library, paper authors, individual, benchmark or this project';

CREATE TABLE papers (
    key VARCHAR PRIMARY KEY,
    title VARCHAR NOT NULL,
    venue VARCHAR,
    venue_type VARCHAR,
    year INTEGER NOT NULL,
    arxiv VARCHAR,
    arxiv_year INTEGER,
    n_authors INTEGER,
    affiliations VARCHAR[],
    affiliation_types VARCHAR[],
    countries VARCHAR[]
);
COMMENT ON TABLE papers IS 'Publications that models, families and datasets come from';
COMMENT ON COLUMN papers.venue IS 'Conference or journal; arXiv if it is a preprint only';
COMMENT ON COLUMN papers.year IS 'Of the venue; of the first preprint if there is no venue';
COMMENT ON COLUMN papers.affiliations IS 'Organisations printed under the authors';
COMMENT ON COLUMN papers.countries IS 'Where those labs are';

CREATE TABLE families (
    key VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    architecture_type VARCHAR,
    paper VARCHAR REFERENCES papers (key)
);
COMMENT ON TABLE families IS 'Groups of architectures that share one main idea';
COMMENT ON COLUMN families.architecture_type IS 'How spatial positions are mixed';

CREATE TABLE architectures (
    key VARCHAR PRIMARY KEY,
    family VARCHAR NOT NULL REFERENCES families (key),
    architecture_type VARCHAR,
    notes VARCHAR
);
COMMENT ON COLUMN architectures.architecture_type IS 'Where it is not that of the family';
COMMENT ON TABLE architectures IS 'Networks: of zoo.nets, of a library (library/name), or known by name only';

CREATE TABLE networks (
    architecture VARCHAR NOT NULL REFERENCES architectures (key),
    input_shape INTEGER[] NOT NULL,
    num_classes INTEGER NOT NULL,
    parameters BIGINT,
    flops BIGINT,
    has_batchnorm BOOLEAN,
    has_dropout BOOLEAN,
    has_dropout_layers BOOLEAN,
    counted_with VARCHAR NOT NULL
);
COMMENT ON TABLE networks IS 'What was counted on an architecture for one input and number of classes';
COMMENT ON COLUMN networks.parameters IS 'Trainable weights, without running statistics';
COMMENT ON COLUMN networks.flops IS 'Of one image, two per multiplication with addition';
COMMENT ON COLUMN networks.has_dropout IS 'Units are dropped with a probability above 0 as it is built';
COMMENT ON COLUMN networks.has_dropout_layers IS 'There are layers of dropout, at whatever probability';

CREATE TABLE datasets (
    key VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    topic VARCHAR,
    granularity VARCHAR,
    train_size BIGINT,
    test_size BIGINT,
    num_classes INTEGER NOT NULL,
    input_shape INTEGER[],
    files VARCHAR[],
    licence VARCHAR,
    sensitive_attributes VARCHAR[],
    paper VARCHAR REFERENCES papers (key),
    notes VARCHAR
);
COMMENT ON TABLE datasets IS 'What models were trained to classify, or measured on';
COMMENT ON COLUMN datasets.train_size IS 'Images; all of them if there is no official split';
COMMENT ON COLUMN datasets.test_size IS 'Images; of the validation split if the test labels are hidden';
COMMENT ON COLUMN datasets.input_shape IS 'Channels, height, width; NULL if images vary';
COMMENT ON COLUMN datasets.files IS 'What shows that its files are at hand, or none; NULL if nothing here reads it';
COMMENT ON COLUMN datasets.sensitive_attributes IS 'Attributes of people recorded per image, or none';

CREATE TABLE models (
    name VARCHAR PRIMARY KEY,
    source VARCHAR NOT NULL,
    source_name VARCHAR,
    purpose VARCHAR NOT NULL,
    task VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL REFERENCES datasets (key),
    architecture VARCHAR NOT NULL REFERENCES architectures (key),
    input_shape INTEGER[],
    num_classes INTEGER NOT NULL,
    mean DOUBLE[],
    std DOUBLE[],
    resize INTEGER,
    fit VARCHAR,
    interpolation VARCHAR,
    licence VARCHAR,
    paper VARCHAR REFERENCES papers (key),
    pretraining VARCHAR[],
    extra_data VARCHAR,
    backdoored BOOLEAN NOT NULL,
    recipe JSON,
    notes VARCHAR
);
COMMENT ON TABLE models IS 'Classifiers of images: pixels in [0, 1] in, logits out';
COMMENT ON COLUMN models.source IS 'Key of sources, or local (a user''s own file)';
COMMENT ON COLUMN models.source_name IS 'What its source calls it';
COMMENT ON COLUMN models.purpose IS 'benchmark, security (from a paper on trustworthy ML), or other';
COMMENT ON COLUMN models.input_shape IS 'Channels, height, width that the network itself takes';
COMMENT ON COLUMN models.mean IS 'Per channel, subtracted from pixels in [0, 1]';
COMMENT ON COLUMN models.std IS 'Per channel, what the pixels are then divided by';
COMMENT ON COLUMN models.resize IS 'Of a photograph, what its side is scaled to before the middle is cut out';
COMMENT ON COLUMN models.fit IS 'Which side: crop (the shorter), squash (both) or border (the longer)';
COMMENT ON COLUMN models.interpolation IS 'How a photograph is scaled, smoothed where it becomes smaller';
COMMENT ON COLUMN models.pretraining IS 'Data besides the dataset that the weights have seen, or none';
COMMENT ON COLUMN models.extra_data IS 'How that data was labelled';
COMMENT ON COLUMN models.recipe IS 'Fields of zoo.recipe.Recipe; NULL unless self-trained';

CREATE TABLE artifacts (
    model VARCHAR PRIMARY KEY REFERENCES models (name),
    sha256 VARCHAR,
    sha256_prefix VARCHAR,
    sha1 VARCHAR,
    size BIGINT,
    mirror_path VARCHAR,
    url VARCHAR,
    member VARCHAR,
    hub_repo VARCHAR,
    hub_revision VARCHAR,
    hub_file VARCHAR,
    state_dict VARCHAR NOT NULL,
    strip_prefix VARCHAR NOT NULL,
    in_order BOOLEAN NOT NULL
);
COMMENT ON TABLE artifacts IS 'Weight files as they are published; hashes are of the file itself';
COMMENT ON COLUMN artifacts.size IS 'Bytes';
COMMENT ON COLUMN artifacts.member IS 'The weight file inside the zip archive at url';
COMMENT ON COLUMN artifacts.hub_repo IS 'Repository on the Hugging Face Hub';
COMMENT ON COLUMN artifacts.state_dict IS 'Path inside the checkpoint to the tensors; empty for none';
COMMENT ON COLUMN artifacts.in_order IS 'Its tensors are the network''s in their order, under other names';

CREATE TABLE metrics (
    model VARCHAR NOT NULL REFERENCES models (name),
    dataset VARCHAR NOT NULL REFERENCES datasets (key),
    split VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    evaluator VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    n BIGINT,
    image_size INTEGER,
    notes VARCHAR,
    PRIMARY KEY (model, dataset, split, metric, evaluator)
);
COMMENT ON TABLE metrics IS 'What others measured of the models';
COMMENT ON COLUMN metrics.evaluator IS 'source (the publisher), mirror, robustbench or securitynet';
COMMENT ON COLUMN metrics.value IS 'Fraction of n images, or an area under a curve';

CREATE TABLE exclusions (
    model VARCHAR PRIMARY KEY,
    reason VARCHAR NOT NULL,
    duplicate_of VARCHAR REFERENCES models (name),
    notes VARCHAR NOT NULL
);
COMMENT ON TABLE exclusions IS 'What is left out of v_models, also what is no model of the catalog';
COMMENT ON COLUMN exclusions.duplicate_of IS 'The model with the same weights that is kept';

CREATE TABLE annotations (
    entity VARCHAR NOT NULL,
    entity_id VARCHAR NOT NULL,
    field VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    source VARCHAR,
    coder VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    confidence VARCHAR NOT NULL,
    evidence VARCHAR NOT NULL,
    codebook_version VARCHAR NOT NULL,
    file VARCHAR NOT NULL,
    line INTEGER NOT NULL
);
COMMENT ON TABLE annotations IS 'Where every value of the other tables comes from: one row per value';
COMMENT ON COLUMN annotations.source IS 'Key of sources; NULL if the row says its own evidence';

CREATE TABLE codings (
    round VARCHAR NOT NULL,
    coder VARCHAR NOT NULL,
    entity VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    field VARCHAR NOT NULL,
    value VARCHAR
);
COMMENT ON TABLE codings IS 'What each coder wrote in a round of coding, before adjudication';
COMMENT ON COLUMN codings.value IS 'As written; NULL if the coder could not find it';

CREATE TABLE adjudications (
    round VARCHAR NOT NULL,
    entity VARCHAR NOT NULL,
    item VARCHAR NOT NULL,
    field VARCHAR NOT NULL,
    value VARCHAR,
    decided_by VARCHAR NOT NULL,
    reason VARCHAR NOT NULL
);
COMMENT ON TABLE adjudications IS 'What was decided where coders disagreed';
COMMENT ON COLUMN adjudications.value IS 'NULL if it was decided that it cannot be known';

CREATE TABLE codes (
    code_group VARCHAR NOT NULL,
    code VARCHAR NOT NULL,
    columns VARCHAR[] NOT NULL
);
COMMENT ON TABLE codes IS 'The codes of the codebook, and the columns of v_models that hold them';

CREATE TABLE words (
    model VARCHAR NOT NULL,
    word VARCHAR NOT NULL
);
COMMENT ON TABLE words IS 'What models are searched by: words of their names, family, dataset, paper';

CREATE TABLE evaluations (
    key VARCHAR PRIMARY KEY,
    mtime_ns BIGINT,
    format INTEGER,
    model VARCHAR,
    dataset VARCHAR,
    regime VARCHAR,
    defense VARCHAR,
    risk VARCHAR,
    attack VARCHAR,
    threat_model VARCHAR,
    seed INTEGER,
    status VARCHAR,
    reason VARCHAR,
    primary_metric VARCHAR,
    susceptibility DOUBLE,
    utility DOUBLE,
    metrics JSON,
    spec JSON,
    result JSON,
    seconds DOUBLE
);
COMMENT ON TABLE evaluations IS 'Index of the measured cells, which lie as files under cells/';
COMMENT ON COLUMN evaluations.mtime_ns IS 'When the file was written, so that a newer one is seen';
COMMENT ON COLUMN evaluations.format IS 'What the numbers mean; only the largest there is is of today';
COMMENT ON COLUMN evaluations.susceptibility IS '0 is what the attacker has without the model, 1 is total; NULL if not measured';
COMMENT ON COLUMN evaluations.utility IS 'Accuracy on data that the model was not trained on';
COMMENT ON COLUMN evaluations.spec IS 'The whole cell';
COMMENT ON COLUMN evaluations.result IS 'The whole evaluation, without its cell';

CREATE TABLE build (
    key VARCHAR PRIMARY KEY,
    value VARCHAR
);
COMMENT ON TABLE build IS 'What this catalog was built from';

-- The one accuracy to quote of each model, and the training accuracy by whoever measured both.
CREATE VIEW v_accuracies AS
WITH ranked AS (
    SELECT
        model, value, evaluator, split, n, image_size,
        row_number() OVER (
            PARTITION BY model, starts_with(split, 'test')
            ORDER BY evaluator = 'source' DESC, evaluator = 'robustbench' DESC, n DESC NULLS LAST,
                evaluator, split
        ) AS place
    FROM metrics
    WHERE metric = 'accuracy'
),
gaps AS (
    SELECT
        test.model,
        train.value AS train_value,
        train.value - test.value AS gap,
        row_number() OVER (
            PARTITION BY test.model
            ORDER BY test.evaluator = 'source' DESC, test.n DESC NULLS LAST, test.evaluator, test.split
        ) AS place
    FROM metrics AS test
    JOIN metrics AS train
        ON train.model = test.model AND train.dataset = test.dataset
        AND train.evaluator = test.evaluator AND train.metric = 'accuracy'
        AND train.split = replace(test.split, 'test', 'train')
    WHERE test.metric = 'accuracy' AND starts_with(test.split, 'test')
)
SELECT
    ranked.model,
    ranked.value AS accuracy,
    ranked.evaluator AS accuracy_by,
    ranked.split AS accuracy_split,
    ranked.n AS accuracy_n,
    ranked.image_size AS accuracy_image_size,
    gaps.train_value AS train_accuracy,
    gaps.gap AS overfitting_level
FROM ranked
LEFT JOIN gaps ON gaps.model = ranked.model AND gaps.place = 1
WHERE ranked.place = 1 AND starts_with(ranked.split, 'test');
COMMENT ON VIEW v_accuracies IS 'One row per model whose accuracy on test images somebody measured';

CREATE VIEW v_all_models AS
SELECT
    models.name,
    models.source,
    models.source_name,
    sources.publisher_type,
    models.purpose,
    models.task,
    models.dataset,
    datasets.topic,
    datasets.granularity,
    datasets.train_size,
    datasets.test_size,
    datasets.train_size / (datasets.train_size + datasets.test_size) AS split_ratio,
    datasets.sensitive_attributes,
    CASE
        WHEN models.recipe IS NULL AND (artifacts.model IS NULL OR models.mean IS NULL) THEN 'no'
        WHEN coalesce(networks.counted_with, '') NOT LIKE '%FlopCounterMode%' THEN 'no'
        WHEN datasets.files IS NULL AND models.source <> 'local' THEN 'no'
        WHEN datasets.files = ['none'] THEN 'here'
        ELSE 'with data'
    END AS attackable,
    models.architecture,
    architectures.family,
    coalesce(architectures.architecture_type, families.architecture_type) AS architecture_type,
    networks.parameters,
    networks.flops,
    networks.has_batchnorm,
    networks.has_dropout,
    networks.has_dropout_layers,
    networks.counted_with,
    papers.title AS paper,
    papers.venue,
    papers.venue_type,
    papers.year,
    papers.n_authors,
    papers.affiliations,
    papers.affiliation_types,
    papers.countries,
    claim.accuracy,
    claim.accuracy_by,
    claim.accuracy_split,
    claim.accuracy_n,
    coalesce(claim.accuracy_image_size, CASE WHEN claim.accuracy IS NOT NULL THEN models.input_shape[2] END)
        AS accuracy_image_size,
    claim.train_accuracy,
    claim.overfitting_level,
    models.pretraining,
    models.extra_data,
    models.licence,
    models.input_shape,
    models.num_classes,
    models.mean,
    models.std,
    models.resize,
    models.fit,
    models.interpolation,
    models.backdoored,
    exclusions.reason AS excluded,
    exclusions.duplicate_of,
    artifacts.sha256,
    artifacts.sha256_prefix,
    artifacts.sha1,
    artifacts.size,
    artifacts.mirror_path,
    artifacts.url,
    artifacts.member,
    artifacts.hub_repo,
    artifacts.hub_revision,
    artifacts.hub_file,
    artifacts.state_dict,
    artifacts.strip_prefix,
    artifacts.in_order,
    models.recipe,
    models.notes
FROM models
JOIN datasets ON datasets.key = models.dataset
JOIN architectures ON architectures.key = models.architecture
JOIN families ON families.key = architectures.family
LEFT JOIN sources ON sources.key = models.source
LEFT JOIN networks
    ON networks.architecture = models.architecture
    AND networks.input_shape = models.input_shape
    AND networks.num_classes = models.num_classes
LEFT JOIN papers ON papers.key = CASE
    WHEN models.purpose = 'security' THEN models.paper ELSE coalesce(families.paper, models.paper)
END
LEFT JOIN exclusions ON exclusions.model = models.name
LEFT JOIN artifacts ON artifacts.model = models.name
LEFT JOIN v_accuracies AS claim ON claim.model = models.name;
COMMENT ON VIEW v_all_models IS 'v_models, and also what is left out of it: see the column excluded';

CREATE VIEW v_models AS SELECT * FROM v_all_models WHERE excluded IS NULL;
COMMENT ON VIEW v_models IS 'One row per model with everything that selects it: none that is backdoored, corrupt, a duplicate, or of very low performance';
COMMENT ON COLUMN v_models.name IS 'owner/model; never reused';
COMMENT ON COLUMN v_models.source IS 'Key of sources, or local (a user''s own file)';
COMMENT ON COLUMN v_models.source_name IS 'What its source calls it';
COMMENT ON COLUMN v_models.publisher_type IS 'library, paper authors, individual, benchmark or this project';
COMMENT ON COLUMN v_models.purpose IS 'benchmark, security (from a paper on trustworthy ML), or other';
COMMENT ON COLUMN v_models.task IS 'What it was trained for';
COMMENT ON COLUMN v_models.dataset IS 'What it was trained to classify: key of datasets';
COMMENT ON COLUMN v_models.topic IS 'What the images show';
COMMENT ON COLUMN v_models.granularity IS 'fine if all classes are kinds of one thing, else coarse';
COMMENT ON COLUMN v_models.train_size IS 'Images in the official training split';
COMMENT ON COLUMN v_models.test_size IS 'Images in the official test split, or validation split if its labels are hidden';
COMMENT ON COLUMN v_models.split_ratio IS 'Training split / (training + test split)';
COMMENT ON COLUMN v_models.sensitive_attributes IS 'Attributes of people recorded per image, or none';
COMMENT ON COLUMN v_models.attackable IS 'here: the data are at hand (zoo list looks for them); with data: once they are; no: weights, scaling, code or a reader are missing';
COMMENT ON COLUMN v_models.architecture IS 'Key of architectures: a network of zoo.nets, or library/name';
COMMENT ON COLUMN v_models.family IS 'Model type: key of families';
COMMENT ON COLUMN v_models.architecture_type IS 'convolutional, transformer, hybrid, mlp, state space or other';
COMMENT ON COLUMN v_models.parameters IS 'Trainable weights';
COMMENT ON COLUMN v_models.flops IS 'Of one image, two per multiplication with addition';
COMMENT ON COLUMN v_models.has_batchnorm IS 'Any layer is a batch norm';
COMMENT ON COLUMN v_models.has_dropout IS 'Units are dropped with a probability above 0 as it is built';
COMMENT ON COLUMN v_models.has_dropout_layers IS 'There are layers of dropout, at whatever probability';
COMMENT ON COLUMN v_models.counted_with IS 'Programs and versions that counted parameters and FLOPs';
COMMENT ON COLUMN v_models.paper IS 'Title: of a security model its own paper, else its family''s; the next seven are of it';
COMMENT ON COLUMN v_models.venue IS 'Conference or journal; arXiv if it is a preprint only';
COMMENT ON COLUMN v_models.venue_type IS 'Field of the venue';
COMMENT ON COLUMN v_models.year IS 'Of the venue; of the first preprint if there is no venue';
COMMENT ON COLUMN v_models.n_authors IS 'Number of authors';
COMMENT ON COLUMN v_models.affiliations IS 'Organisations printed under the authors';
COMMENT ON COLUMN v_models.affiliation_types IS 'university, company, research institution';
COMMENT ON COLUMN v_models.countries IS 'Where those labs are';
COMMENT ON COLUMN v_models.accuracy IS 'On test images: the publisher''s claim, else somebody else''s';
COMMENT ON COLUMN v_models.accuracy_by IS 'Who measured it: source, robustbench, securitynet or mirror';
COMMENT ON COLUMN v_models.accuracy_split IS 'What it was measured on';
COMMENT ON COLUMN v_models.accuracy_n IS 'How many images';
COMMENT ON COLUMN v_models.accuracy_image_size IS 'Height and width it was measured at; FLOPs are at input_shape';
COMMENT ON COLUMN v_models.train_accuracy IS 'By whoever measured both, on training images';
COMMENT ON COLUMN v_models.overfitting_level IS 'Training minus test accuracy, both by one evaluator';
COMMENT ON COLUMN v_models.pretraining IS 'Data besides the dataset that the weights have seen, or none';
COMMENT ON COLUMN v_models.extra_data IS 'How that data was labelled, or none';
COMMENT ON COLUMN v_models.licence IS 'Of the weights, as the source states it';
COMMENT ON COLUMN v_models.input_shape IS 'Channels, height, width that the network takes';
COMMENT ON COLUMN v_models.num_classes IS 'Number of logits';
COMMENT ON COLUMN v_models.mean IS 'Per channel, subtracted from pixels in [0, 1]';
COMMENT ON COLUMN v_models.std IS 'Per channel, what the pixels are then divided by';
COMMENT ON COLUMN v_models.resize IS 'Of a photograph, what its side is scaled to before the middle is cut out';
COMMENT ON COLUMN v_models.fit IS 'Which side: crop (the shorter), squash (both) or border (the longer)';
COMMENT ON COLUMN v_models.interpolation IS 'How a photograph is scaled, smoothed where it becomes smaller';
COMMENT ON COLUMN v_models.backdoored IS 'Its authors planted a backdoor';
COMMENT ON COLUMN v_models.excluded IS 'NULL; in v_all_models, why it is left out: duplicate, corrupt, low performance, backdoored, not classification';
COMMENT ON COLUMN v_models.duplicate_of IS 'The model with the same weights that is kept';
COMMENT ON COLUMN v_models.sha256 IS 'Of the weight file; NULL until fetched once if the source states none';
COMMENT ON COLUMN v_models.sha256_prefix IS 'Its first digits, as the file name has them';
COMMENT ON COLUMN v_models.sha1 IS 'Of the weight file';
COMMENT ON COLUMN v_models.size IS 'Of the weight file, in bytes';
COMMENT ON COLUMN v_models.mirror_path IS 'Where it lies below a mirror folder';
COMMENT ON COLUMN v_models.url IS 'Where it, or the archive with it, is published';
COMMENT ON COLUMN v_models.member IS 'The weight file inside that archive';
COMMENT ON COLUMN v_models.hub_repo IS 'Repository on the Hugging Face Hub';
COMMENT ON COLUMN v_models.hub_revision IS 'Commit of that repository';
COMMENT ON COLUMN v_models.hub_file IS 'File in that repository';
COMMENT ON COLUMN v_models.state_dict IS 'Path inside the checkpoint to the tensors';
COMMENT ON COLUMN v_models.in_order IS 'Its tensors are the network''s in their order, under other names';
COMMENT ON COLUMN v_models.strip_prefix IS 'Dropped from every key';
COMMENT ON COLUMN v_models.recipe IS 'How it is trained; NULL unless this project trains it';
COMMENT ON COLUMN v_models.notes IS 'What a reader must know to use it';
