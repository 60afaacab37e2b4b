-- The catalog and the index of evaluations. NULL is unknown, never 0.

CREATE TABLE papers (
    key VARCHAR PRIMARY KEY,
    title VARCHAR NOT NULL,
    venue VARCHAR,
    year INTEGER NOT NULL,
    arxiv VARCHAR
);
COMMENT ON TABLE papers IS 'Publications that models, families and datasets come from';
COMMENT ON COLUMN papers.venue IS 'Conference or journal; NULL if it was never published at one';
COMMENT ON COLUMN papers.year IS 'Of the venue; of the first preprint if there is no venue';

CREATE TABLE families (
    key VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    paper VARCHAR REFERENCES papers (key)
);
COMMENT ON TABLE families IS 'Groups of architectures that share one main idea';

CREATE TABLE architectures (
    key VARCHAR PRIMARY KEY,
    family VARCHAR NOT NULL REFERENCES families (key),
    input_shape INTEGER[] NOT NULL,
    num_classes INTEGER NOT NULL,
    parameters BIGINT NOT NULL,
    has_batchnorm BOOLEAN NOT NULL,
    has_dropout BOOLEAN NOT NULL,
    notes VARCHAR
);
COMMENT ON TABLE architectures IS 'Networks that zoo.nets can build';
COMMENT ON COLUMN architectures.parameters IS 'Trainable weights, at this input_shape and num_classes';

CREATE TABLE datasets (
    key VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    topic VARCHAR NOT NULL,
    granularity VARCHAR NOT NULL,
    train_size BIGINT,
    test_size BIGINT,
    num_classes INTEGER NOT NULL,
    input_shape INTEGER[] NOT NULL,
    licence VARCHAR,
    paper VARCHAR REFERENCES papers (key),
    notes VARCHAR
);
COMMENT ON TABLE datasets IS 'What models were trained to classify';
COMMENT ON COLUMN datasets.train_size IS 'Images; all of them if there is no official split';
COMMENT ON COLUMN datasets.test_size IS 'Images; NULL if there is no official split';
COMMENT ON COLUMN datasets.input_shape IS 'Channels, height, width, as this project reads the images';

CREATE TABLE models (
    name VARCHAR PRIMARY KEY,
    source VARCHAR NOT NULL,
    purpose VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL REFERENCES datasets (key),
    architecture VARCHAR NOT NULL REFERENCES architectures (key),
    input_shape INTEGER[] NOT NULL,
    num_classes INTEGER NOT NULL,
    mean DOUBLE[] NOT NULL,
    std DOUBLE[] NOT NULL,
    parameters BIGINT NOT NULL,
    licence VARCHAR,
    paper VARCHAR REFERENCES papers (key),
    backdoored BOOLEAN NOT NULL,
    recipe JSON,
    notes VARCHAR
);
COMMENT ON TABLE models IS 'Classifiers of images: pixels in [0, 1] in, logits out';
COMMENT ON COLUMN models.source IS 'selftrained, published, or local (a user''s own file)';
COMMENT ON COLUMN models.purpose IS 'benchmark, security (from a paper on trustworthy ML), or other';
COMMENT ON COLUMN models.input_shape IS 'Channels, height, width that the network itself takes';
COMMENT ON COLUMN models.mean IS 'Per channel, subtracted from pixels in [0, 1]';
COMMENT ON COLUMN models.std IS 'Per channel, what the pixels are then divided by';
COMMENT ON COLUMN models.recipe IS 'Fields of zoo.recipe.Recipe; NULL unless self-trained';

CREATE TABLE artifacts (
    model VARCHAR PRIMARY KEY REFERENCES models (name),
    sha256 VARCHAR NOT NULL,
    size BIGINT NOT NULL,
    mirror_path VARCHAR,
    url VARCHAR,
    state_dict VARCHAR NOT NULL,
    strip_prefix VARCHAR NOT NULL
);
COMMENT ON TABLE artifacts IS 'Weight files as they are published';
COMMENT ON COLUMN artifacts.size IS 'Bytes';
COMMENT ON COLUMN artifacts.state_dict IS 'Path inside the checkpoint to the tensors; empty for none';

CREATE TABLE metrics (
    model VARCHAR NOT NULL REFERENCES models (name),
    dataset VARCHAR NOT NULL REFERENCES datasets (key),
    split VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    evaluator VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    n BIGINT,
    notes VARCHAR,
    PRIMARY KEY (model, dataset, split, metric, evaluator)
);
COMMENT ON TABLE metrics IS 'What others measured of the models';
COMMENT ON COLUMN metrics.evaluator IS 'source: the publisher claims it; mirror: measured on the file';
COMMENT ON COLUMN metrics.value IS 'Fraction of n images';

CREATE TABLE annotations (
    entity VARCHAR NOT NULL,
    entity_id VARCHAR NOT NULL,
    field VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    coder VARCHAR NOT NULL,
    method VARCHAR NOT NULL,
    confidence VARCHAR NOT NULL,
    evidence VARCHAR NOT NULL,
    codebook_version VARCHAR NOT NULL,
    file VARCHAR NOT NULL,
    line INTEGER NOT NULL,
    PRIMARY KEY (entity, entity_id, field)
);
COMMENT ON TABLE annotations IS 'Where every value of the other tables comes from';

CREATE TABLE evaluations (
    key VARCHAR PRIMARY KEY,
    mtime_ns BIGINT,
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
COMMENT ON COLUMN evaluations.susceptibility IS '0 is chance, 1 is total; NULL if not measured';
COMMENT ON COLUMN evaluations.utility IS 'Accuracy on data that the model was not trained on';
COMMENT ON COLUMN evaluations.spec IS 'The whole cell';
COMMENT ON COLUMN evaluations.result IS 'The whole evaluation, without its cell';

CREATE TABLE build (
    key VARCHAR PRIMARY KEY,
    value VARCHAR
);
COMMENT ON TABLE build IS 'What this catalog was built from';

CREATE VIEW v_models AS
SELECT
    models.name,
    models.source,
    models.purpose,
    models.dataset,
    models.architecture,
    architectures.family,
    models.parameters,
    claim.value AS accuracy,
    claim.evaluator AS accuracy_by,
    claim.split AS accuracy_split,
    claim.n AS accuracy_n,
    models.backdoored,
    models.licence,
    architectures.has_batchnorm,
    architectures.has_dropout,
    models.input_shape,
    models.num_classes,
    models.mean,
    models.std,
    papers.title AS paper,
    papers.venue,
    papers.year,
    artifacts.sha256,
    artifacts.size,
    artifacts.mirror_path,
    artifacts.url,
    artifacts.state_dict,
    artifacts.strip_prefix,
    models.recipe,
    models.notes
FROM models
JOIN architectures ON architectures.key = models.architecture
LEFT JOIN papers ON papers.key = models.paper
LEFT JOIN artifacts ON artifacts.model = models.name
LEFT JOIN (
    SELECT DISTINCT ON (model) model, value, evaluator, split, n
    FROM metrics
    WHERE metric = 'accuracy' AND split LIKE 'test%'
    ORDER BY model, evaluator = 'source' DESC, n DESC
) AS claim ON claim.model = models.name;
COMMENT ON VIEW v_models IS 'One row per model with everything that selects it';
COMMENT ON COLUMN v_models.accuracy IS 'On test images: the publisher''s claim, else the mirror''s';
COMMENT ON COLUMN v_models.accuracy_by IS 'source or mirror; NULL if nobody has measured it';
COMMENT ON COLUMN v_models.size IS 'Of the weight file, in bytes';
