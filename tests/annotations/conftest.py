import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from annotations.load import FOLDER

WHO = "maintainers,manual,high,seen"
FILES = {
    "papers.csv": f"""\
key,title,venue,year,arxiv,coder,method,confidence,evidence
he2016,Deep Residual Learning,CVPR,2016,1512.03385,{WHO}
lecun1998,Gradient-Based Learning,,1998,,{WHO}
""",
    "families.csv": f"""\
key,name,paper,coder,method,confidence,evidence
mlp,multilayer perceptron,,{WHO}
resnet,ResNet,he2016,{WHO}
""",
    "architectures.csv": f"""\
key,family,input_shape,num_classes,parameters,has_batchnorm,has_dropout,notes,coder,method,\
confidence,evidence
mlp-128,mlp,1;8;8,10,9610,false,false,,{WHO}
resnet8,resnet,1;8;8,10,75002,true,false,,{WHO}
""",
    "datasets.csv": f"""\
key,name,topic,granularity,train_size,test_size,num_classes,input_shape,licence,paper,notes,coder,\
method,confidence,evidence
digits,digits,digits and characters,fine,1797,,10,1;8;8,CC BY 4.0,,,{WHO}
signs,SIGNS,traffic signs,fine,39209,12630,43,3;35;35,,lecun1998,,{WHO}
""",
    "sources/selftrained.csv": f"""\
name,purpose,dataset,architecture,input_shape,num_classes,mean,std,parameters,licence,paper,\
backdoored,notes,recipe,coder,method,confidence,evidence
digits-mlp,benchmark,digits,mlp-128,1;8;8,10,0,1,9610,,,false,,quick,{WHO}
""",
    "sources/published.csv": f"""\
name,purpose,dataset,architecture,input_shape,num_classes,mean,std,parameters,licence,paper,\
backdoored,notes,sha256,size,mirror_path,url,state_dict,strip_prefix,coder,method,confidence,\
evidence
me/resnet8-signs,security,signs,resnet8,3;32;32,43,0.1;0.2;0.3,1;1;1,75290,MIT,he2016,true,,\
{"a" * 64},9,weights/a.pt,https://example.org/a.pt,state_dict,module.,{WHO}
""",
    "metrics.csv": f"""\
model,dataset,split,metric,evaluator,value,n,notes,coder,method,confidence,evidence
me/resnet8-signs,signs,test,accuracy,mirror,0.9,100,,{WHO}
me/resnet8-signs,signs,test,accuracy,source,0.95,,,{WHO}
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
    """A small folder of valid annotations, under the project's own codebook and taxonomy."""
    (tmp_path / "sources").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    for name in ("codebook.toml", "taxonomy.toml"):
        shutil.copy(FOLDER / name, tmp_path)
    return tmp_path


@pytest.fixture
def edit(folder: Path) -> Callable[[str, str, str], None]:
    """Replace one text, which must be there exactly once, in one file."""

    def replace(file: str, old: str, new: str) -> None:
        text = (folder / file).read_text()
        assert text.count(old) == 1
        (folder / file).write_text(text.replace(old, new))

    return replace
