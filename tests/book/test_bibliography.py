"""The bibliography: what is cited is there, what is there is cited, and no claim goes without."""

import re

import pytest
from pybtex.database import parse_file

from _tools import chapters
from repository import ROOT

ENTRIES = parse_file(ROOT / "book" / "references.bib").entries
CITED = re.compile(r"\{cite:\w+\}`([^`]+)`")
ARXIV = re.compile(r"arxiv\.org/abs/(\d{4}\.\d{4,5})")
#: What a chapter cannot say without the paper that it comes from.
PAPERS = {
    "400 million": "radford2021",
    "original vision transformer": "dosovitskiy2021",
    r"relative\s+positions": "shaw2018",
    "one more epoch": "radford2021",
    r"\*heads\*": "vaswani2017",
    "GELU": "hendrycks2016",
    "layer norm": "ba2016",
    "pre-norm": "xiong2020",
    "residual\\s+stream": "elhage2021",
    "never form the table": "dao2022",
    "computed again": "chen2016",
    "LLaVA": "liu2023",
    "LLaVA-1.5": "liu2024",
    "modality gap": "liang2022",
    "textual inversion": "gal2023",
    "CoOp did": "zhou2022",
    "mean feature of": "snell2017",
    "KgCoOp": "yao2023",
    "CoCoOp": "zhou2022cocoop",
    "Visual prompt tuning": "jia2022",
    "MaPLe": "khattak2023",
    "CLIP-LoRA": "zanella2024",
    "after LoRA": "hu2022",
    "PromptSRC": "khattak2023self",
    "Tip-Adapter": "zhang2022",
    r"LP\+\+": "huang2024",
    "ProLIP": "fahes2024",
    "calibration error": "guo2017",
    "a public list": "li2025",
    "[Rr]ollout": "abnar2020",
    "not explanations": "jain2019",
    "grow very long": "darcet2024",
    "prefer the background": "li2023",
    "logit lens": "nostalgebraist2020",
    "MaskCLIP": "zhou2022maskclip",
    "ClearCLIP": "lan2024",
    "byte-pair encoding": "sennrich2016",
    "left out at random": "li2023flip",
    "AdamW": "loshchilov2019",
    "Muon": "jordan2024",
    "stick the sheet on an apple": "goh2021",
    "eats the grass": "yuksekgonul2023",
    "where a cosine compares them": "koishigarina2025",
    "process a negation": "quantmeyer2024",
    "count to ten": "paiss2023",
    "It is called SigLIP": "zhai2023",
    "SigLIP 2 ": "tschannen2025",
    "MetaCLIP 2": "chuang2025",
    "Chinese-CLIP ": "yang2022",
    "AltCLIP ": "chen2023",
    "trained with open_clip": "ilharco2021",
}


def citations(path):
    """Each citation of a chapter with the paragraph that it stands in."""
    for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
        for keys in CITED.findall(paragraph):
            yield from ((key.strip(), paragraph) for key in keys.split(","))


CITATIONS = [cited for page in chapters.notebooks() for cited in citations(page)]


def test_every_citation_has_an_entry_and_every_entry_is_cited():
    assert {key for key, _ in CITATIONS} == set(ENTRIES)


@pytest.mark.parametrize("key", ENTRIES)
def test_an_entry_is_complete(key):
    entry = ENTRIES[key]
    assert {"title", "year", "url"} <= set(entry.fields)
    assert key.startswith(re.sub(r"\W", "", entry.persons["author"][0].last_names[0]).lower())
    assert re.fullmatch(rf"[a-z]+{entry.fields['year']}\w*", key), "name and year"
    assert entry.fields["url"].startswith("https://")


def test_no_paper_is_there_twice():
    for field in ("url", "title"):
        values = [entry.fields[field].lower() for entry in ENTRIES.values()]
        assert len(values) == len(set(values))


@pytest.mark.parametrize(("claim", "key"), PAPERS.items())
def test_a_claim_stands_beside_its_paper(claim, key):
    assert any(cited == key and re.search(claim, paragraph) for cited, paragraph in CITATIONS)


def test_no_paper_is_forgotten_here():
    assert set(PAPERS.values()) == set(ENTRIES)


def test_papers_that_the_package_names_are_in_the_bibliography():
    known = " ".join(
        f"{entry.fields['url']} arxiv.org/abs/{entry.fields.get('eprint', '')}"
        for entry in ENTRIES.values()
    )
    files = [ROOT / "README.md", *(ROOT / "clipnotes").rglob("*.py")]
    named = {paper for file in files for paper in ARXIV.findall(file.read_text(encoding="utf-8"))}
    assert len(named) > 10
    assert named - set(ARXIV.findall(known)) == set()
