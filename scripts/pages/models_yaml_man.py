"""man/man5/models.yaml.5, from the schema."""

from __future__ import annotations

from pages.keys import INTERPOLATION, LIMITS, UNITS, Schema, keys_of, top_level
from pages.roff import Man


def models_yaml_man(schema: Schema) -> str:
    page = Man("MODELS.YAML", 5, "the model servers that vllmctl keeps running")
    page.section("DESCRIPTION")
    page.text(schema["description"].partition(". ")[0] + ".")
    page.text(
        "The daemon of vllmctl(1) reads the file when it starts and again when it is saved. "
        "A file with an error changes nothing: the last good reading stays in effect. "
        "`vllmctl validate` shows every error at once."
    )
    page.text(INTERPOLATION)
    page.text(UNITS)
    page.text(LIMITS)
    page.section("THE FILE")
    for name, node in top_level(schema).items():
        page.term(name, node["description"])
    page.term("x-…", schema["patternProperties"]["^x-"]["description"])
    page.section("A MODEL")
    page.text(schema["$defs"]["model"]["description"])
    for key in keys_of(schema, schema["$defs"]["model"]["properties"]):
        page.term(key.path, key.says)
        if key.takes:
            page.more(f"Takes: {key.takes}.")
        if key.default is not None:
            page.more(f"Default: `{key.default}`.")
        for example in key.examples:
            page.more(f"Example: `{example}`")
        if key.depth == 0:
            page.more(f"A change {key.change}.")
    page.section("EXAMPLE")
    page.verbatim(EXAMPLE)
    page.section("FILES")
    for place in PLACES:
        page.term(place, "")
    page.text("The first of these that exists is read, unless -c or VLLMCTL_CONFIG names one.")
    page.section("SEE ALSO")
    page.text("vllmctl(1)")
    return page.done()


EXAMPLE = """\
defaults:
  env: {HF_HOME: /data/hf}
models:
  chat:
    model: Qwen/Qwen3-8B
    gpus: 0
    args: {max-model-len: 8192}
  embed:
    model: Qwen/Qwen3-Embedding-0.6B
    gpus: 1
    labels: [small]"""
PLACES = ("./models.yaml", "~/.config/vllmctl/models.yaml", "/etc/vllmctl/models.yaml")
