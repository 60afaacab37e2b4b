import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from annotations.load import FOLDER, load_codebook

WHO = "maintainers,manual,high,seen"
BY = "coder,method,confidence,evidence"
MODEL = (
    "name,source_name,purpose,task,dataset,architecture,input_shape,num_classes,mean,std,"
    "resize,fit,interpolation,licence,paper,pretraining,extra_data,backdoored,notes"
)
METRIC = "model,dataset,split,metric,evaluator,value,n,image_size,notes"
NETWORK = (
    "architecture,input_shape,num_classes,parameters,flops,has_batchnorm,has_dropout,"
    "has_dropout_layers,counted_with"
)
FILES = {
    "papers.csv": f"""\
key,title,venue,venue_type,year,arxiv,arxiv_year,n_authors,affiliations,affiliation_types,\
countries,{BY}
he2016,Deep Residual Learning,CVPR,computer vision,2016,1512.03385,2015,4,Microsoft,company,\
China,{WHO}
lecun1998,Gradient-Based Learning,,,1998,,,,,,,{WHO}
""",
    "families.csv": f"""\
key,name,architecture_type,paper,{BY}
mlp,multilayer perceptron,mlp,,{WHO}
resnet,ResNet,convolutional,he2016,{WHO}
""",
    "architectures.csv": f"""\
key,family,architecture_type,notes,{BY}
mlp-128,mlp,,,{WHO}
resnet8,resnet,,,{WHO}
""",
    "computed/nets.csv": f"""\
{NETWORK}
mlp-128,1;8;8,10,9610,19000,false,false,false,torch 2
""",
    "datasets.csv": f"""\
key,name,topic,granularity,train_size,test_size,num_classes,input_shape,files,licence,\
sensitive_attributes,paper,notes,{BY}
digits,digits,digits and characters,fine,1797,,10,1;8;8,none,CC-BY-4.0,none,,,{WHO}
signs,SIGNS,traffic signs,fine,39209,12630,43,3;35;35,,,none,lecun1998,,{WHO}
""",
    "sources/selftrained.csv": f"""\
{MODEL},recipe,{BY}
digits-mlp,,benchmark,image classification,digits,mlp-128,1;8;8,10,0,1,,,,,,none,none,false,,quick,\
{WHO}
""",
    "sources/published.csv": f"""\
{MODEL},sha256,size,mirror_path,url,member,state_dict,strip_prefix,in_order,{BY}
me/resnet8-signs,,security,image classification,signs,resnet8,3;32;32,43,0.1;0.2;0.3,1;1;1,,,,MIT,\
he2016,none,none,true,,{"a" * 64},9,weights/a.pt,https://example.org/a.pt,,state_dict,module.,,\
{WHO}
""",
    "sources/timm.csv": f"""\
{MODEL},hub_repo,url
timm/resnet8.x_in1k,,benchmark,image classification,signs,resnet8,3;32;32,43,0.1;0.2;0.3,1;1;1,,,,,,\
imagenet-1k,labelled,false,,timm/resnet8.x_in1k,
""",
    "metrics/published.csv": f"""\
{METRIC},{BY}
me/resnet8-signs,signs,test,accuracy,mirror,0.9,100,,,{WHO}
me/resnet8-signs,signs,test,accuracy,source,0.95,,,,{WHO}
""",
    "exclusions/curated.csv": f"""\
model,reason,duplicate_of,notes,{BY}
me/resnet8-signs,backdoored,,its authors say so,{WHO}
""",
    "evidence.csv": f"""\
entity,id,field,{BY}
papers,he2016,n_authors,second,paper,high,counted on its front page
""",
    "recipes.toml": """\
[quick]
optimizer = "adam"
lr = 0.001
epochs = 2
batch_size = 64
""",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder of valid annotations, under the project's own codebook and sources.

    Files of the codebook that are not among `FILES` have a header and no rows.
    """
    for name in ("codebook.toml", "taxonomy.toml", "sources.toml"):
        shutil.copy(FOLDER / name, tmp_path)
    book = load_codebook()
    for table in book.tables.values():
        path = tmp_path / table.file
        path.parent.mkdir(exist_ok=True)
        columns = [*table.fields, *(() if table.origin else book.provenance)]
        path.write_text(FILES.get(table.file, ",".join(columns) + "\n"))
    (tmp_path / "recipes.toml").write_text(FILES["recipes.toml"])
    return tmp_path


@pytest.fixture
def edit(folder: Path) -> Callable[[str, str, str], None]:
    """Replace one text, which must be there exactly once, in one file."""

    def replace(file: str, old: str, new: str) -> None:
        text = (folder / file).read_text()
        assert text.count(old) == 1
        (folder / file).write_text(text.replace(old, new))

    return replace
