"""The pages for teachers say what the chapters say: minutes, sections, what needs what, words, references."""

import re

import pytest
from common import CHAPTERS, ROOT

BOOK = ROOT / "book"
TEXT = {page.stem: page.read_text() for page in CHAPTERS}
TAUGHT = [name for name, text in TEXT.items() if "**Time" in text]
TEACHING, GLOSSARY = (BOOK / "teaching.md").read_text(), (BOOK / "glossary.md").read_text()
TERMS = re.findall(r"^\w.*$", GLOSSARY.partition("```{glossary}")[2], re.MULTILINE)
REFERENCES = re.findall(r"^@\w+\{(\w+),", (BOOK / "references.bib").read_text(), re.MULTILINE)
EDGES = {tuple(edge.split()) for edge in re.findall(r'data-edge="([^"]*)"', TEACHING)}
PLANS = re.findall(
    r"^### (One lecture|One week|Two weeks|Further sessions)\n(.*?)(?=^##)",
    TEACHING,
    re.DOTALL | re.MULTILINE,
)


def minutes(chapter: str) -> int:
    """What the chapter states under its title: the one source."""
    found = re.search(r"\*\*Time:?\*\*:?\s+(\w+)\s+minutes", TEXT[chapter])
    assert found, f"{chapter}: expected **Time:** and minutes under the title"
    return 10 if found[1] == "ten" else int(found[1])


def needed(chapter: str) -> set[str]:
    """The chapters that its line on prerequisites links to."""
    line = re.search(r"\*\*(You need|Prerequisites)(.*?)\*\*Time", TEXT[chapter], re.DOTALL)
    return set(re.findall(r"\]\((\w+)\.md\)", line[2]))


def before(chapter: str, edges: set[tuple[str, str]]) -> set[str]:
    """All chapters from which arrows lead here."""
    direct = {start for start, end in edges if end == chapter}
    return direct.union(*(before(start, edges) for start in direct))


@pytest.mark.parametrize("chapter", TAUGHT)
def test_the_map_has_the_chapter_as_it_is(chapter):
    shown = re.search(rf'href="{chapter}\.html">.*?(\d+) min', TEACHING)
    assert shown, "not on the map of book/teaching.md"
    listed = re.search(rf"\]\({chapter}\.md\)\n[^:]*:::\{{card-footer\}}\n(\d+) min to read", TEXT["start"])
    assert listed, "not on a card of book/start.md"
    assert int(shown[1]) == int(listed[1]) == minutes(chapter)
    stated = {(start, end) for end in TAUGHT for start in needed(end)}
    assert before(chapter, EDGES) == before(chapter, stated)


@pytest.mark.parametrize("chapter", TAUGHT)
def test_reading_takes_less_than_half_of_the_minutes(chapter):
    """At 250 words a minute, without exercises, code and mathematics; the rest is for code and pictures."""
    prose = TEXT[chapter].partition("## Exercises")[0]
    prose = re.sub(r"```\{code-cell\}.*?```|\$\$.*?\$\$|\$[^$]*\$", " ", prose, flags=re.DOTALL)
    assert len(re.findall(r"[A-Za-z]{2,}", prose)) / 250 < minutes(chapter) / 2


@pytest.mark.parametrize("plan", PLANS, ids=[name for name, _ in PLANS])
def test_a_plan_can_be_kept(plan):
    sessions = re.findall(r"^\*\*\w+[^,*]*, (\d+) minutes\.\*\* (.*?)\n\n", plan[1], re.DOTALL | re.MULTILINE)
    spent = dict.fromkeys(TAUGHT, 0)
    for total, text in sessions:
        in_session = 0
        for chapter, sections in re.findall(r"\]\((\w+)\.md\):\s([^\[]*)", text):
            for section, share in re.findall(r"\*([^*]+)\* (\d+)", sections):
                assert f"\n## {section}\n" in TEXT[chapter], f"{chapter} has no section {section!r}"
                in_session += int(share)
                spent[chapter] += int(share)
        assert in_session == int(total), f"sections of {in_session} minutes in a session of {total}"
    assert sum(spent.values()) > 0
    for chapter, used in spent.items():
        assert used <= minutes(chapter), f"{chapter}: {used} minutes of sections"


def test_there_are_three_plans_and_sessions_for_the_rest():
    assert [len(re.findall("^- \\*Assign:", text, re.MULTILINE)) for _, text in PLANS] == [1, 5, 10, 5]


@pytest.mark.parametrize("chapter", TAUGHT)
def test_whoever_teaches_a_chapter_finds_minutes_and_what_students_believe(chapter):
    """The instructor edition says of a chapter what stands here."""
    assert any(f"]({chapter}.md):" in text for _, text in PLANS)
    beliefs = TEACHING.partition("## What students believe")[2].partition("\n## ")[0]
    figures = re.findall(r"name: (fig-[\w-]+)", TEXT[chapter])
    assert any(f"`{name}`" in beliefs for name in figures)


def test_every_word_stands_alone_and_has_a_home():
    entries = re.split(r"\n\n(?=\w)", GLOSSARY.partition(":sorted:")[2].partition("\n```")[0].strip())
    assert len(entries) == len(TERMS) >= 30
    assert sorted(TERMS, key=str.lower) == TERMS
    for entry in entries:
        home = re.search(r"See\s+\[[^\]]*\]\((\w+)\.md\)\.?$", entry)
        assert home and home[1] in TEXT, f"{entry}\nexpected See [...](chapter.md) at its end"


def test_words_are_linked_and_links_lead_to_words():
    linked = set()
    for name, text in TEXT.items():
        for label in re.findall(r"\{term\}`([^`]+)`", text):
            term = re.sub(r".*<(.*)>", r"\1", " ".join(label.split()))
            assert term in TERMS, f"{name}: {term!r} is not in the glossary"
            linked.add(term)
    assert linked == set(TERMS)


@pytest.mark.parametrize("chapter", TAUGHT)
def test_further_reading_is_annotated(chapter):
    section = TEXT[chapter].partition("\n## Further reading\n")[2]
    entries = re.split(r"^- ", section.partition("\n## ")[0], flags=re.MULTILINE)[1:]
    assert 3 <= len(entries) <= 5
    for entry in entries:
        cited, _, note = entry.partition(": ")
        keys = re.findall(r"\{cite:t\}`(\w+)`", cited)
        assert keys and set(keys) <= set(REFERENCES) and len(note.split()) > 5, entry


@pytest.mark.parametrize("chapter", [name for name in TAUGHT if minutes(name) >= 50])
def test_a_long_chapter_says_what_can_be_left_out(chapter):
    sections = re.findall(r"^#+ .*\n\n(.*)", TEXT[chapter], re.MULTILINE)
    assert any(text.startswith("*Optional: ") for text in sections)
