"""Templates are compiled once, for all languages and all later starts, and translated in each language."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from jinja2 import Environment, FileSystemLoader, nodes
from web_server import running_web

import hedgerow
from hedgerow.dashboards.templating import TEMPLATES, compile_templates, make_environment
from hedgerow.dashboards.words.languages import language
from hedgerow.proxy.pages.compiled_templates import CompiledTemplates

PACKAGE = Path(hedgerow.__file__).parent


def test_languages_share_compiled_templates():
    values = {"people": (), "silent": (), "since": "", "until": ""}
    said = {"en": "The week at home", "de": "Die Woche zu Hause", "fr": "La semaine à la maison"}
    for code in ("en", "de", "fr", "en"):
        report = make_environment(language(code)).get_template("report.txt").render(values)
        assert report.startswith(said[code])


def test_plain_text_is_not_escaped_and_pages_are():
    made = make_environment(language("en"))
    assert made.overlay(autoescape=False).from_string("{{ what }}").render(what="<b>") == "<b>"
    assert made.from_string("{{ what }}").render(what="<b>") == "&lt;b&gt;"


def test_pages_load_what_an_installation_compiled(tmp_path, monkeypatch):
    compile_templates()

    def refuse(*_given, **_more):
        raise AssertionError("compiled again")

    monkeypatch.setattr("jinja2.Environment.compile", refuse)
    with running_web(tmp_path, warm=True) as web:
        assert httpx.get(f"{web.url}/start", trust_env=False, verify=False, timeout=60).status_code == 200


@pytest.fixture
def template(tmp_path):
    (tmp_path / "page.html").write_text("Hello {{ name }}")
    return tmp_path / "page.html"


def rendered(template):
    folder = template.parent
    return (
        Environment(loader=FileSystemLoader(folder), autoescape=True, bytecode_cache=CompiledTemplates(folder))
        .get_template(template.name)
        .render(name="Ana")
    )


def compiled_file(template):
    (file,) = (template.parent / "__pycache__").iterdir()
    return file


def test_a_second_start_loads_what_the_first_compiled(template, monkeypatch):
    assert rendered(template) == "Hello Ana"
    assert compiled_file(template).stat().st_mode & 0o777 == 0o644

    def refuse(*_given, **_more):
        raise AssertionError("compiled again")

    monkeypatch.setattr("jinja2.Environment.compile", refuse)
    assert rendered(template) == "Hello Ana"


def test_a_changed_template_is_compiled_again(template):
    rendered(template)
    template.write_text("Goodbye {{ name }}")
    assert rendered(template) == "Goodbye Ana"


def test_a_damaged_file_is_compiled_again(template):
    rendered(template)
    file, whole = compiled_file(template), compiled_file(template).read_bytes()
    for size in (*range(0, len(whole), 7), len(whole) - 1):
        file.write_bytes(whole[:size])
        assert rendered(template) == "Hello Ana"
        assert file.read_bytes() == whole


def test_a_directory_that_cant_be_written_does_no_harm(template):
    (template.parent / "__pycache__").write_text("not a directory")
    assert rendered(template) == "Hello Ana"


def test_an_installation_compiles_the_templates_of_all_pages():
    code = "from hedgerow.dashboards.templating import compile_templates; compile_templates()"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
    assert len(list(TEMPLATES.glob("__pycache__/*.jinja"))) >= len(list(TEMPLATES.glob("*.html")))


def test_scripts_are_modules_whose_names_do_not_collide():
    """Of two scripts of one page that declare the same name, the second one would not run at all."""
    for template in PACKAGE.rglob("templates/*.html"):
        scripts = re.findall(r"<script[^>]*>", template.read_text(encoding="utf-8"))
        assert all(each.startswith('<script type="module" src=') for each in scripts), template


PAGES = sorted((*TEMPLATES.glob("*.html"), *PACKAGE.glob("features/*/templates/*.html")))
BY_HAND = re.compile(r"<form\b|<select\b|<textarea\b|<input\b[^>]*\bname=")


def test_forms_are_written_by_the_functions_that_fill_refused_ones():
    """A form or field that a template writes by hand would be empty after a refusal."""
    for template in PAGES:
        assert not BY_HAND.search(template.read_text(encoding="utf-8")), template


def test_each_form_names_what_its_buttons_send():
    """A form that seems unable to send what was refused is not shown again."""
    made, found = make_environment(language("en")), 0
    for template in PAGES:
        for block in made.parse(template.read_text(encoding="utf-8")).find_all(nodes.CallBlock):
            if getattr(block.call.node, "name", "") in ("post_form", "get_form"):
                text = "".join(each.data for part in block.body for each in part.find_all(nodes.TemplateData))
                named = set(re.findall(r'<button\b[^>]*\bname="(\w+)"', text))
                given = [each.value for each in block.call.kwargs if each.key == "sends"]
                sends = {
                    const.value
                    for each in given
                    for const in (each, *each.find_all(nodes.Const))
                    if isinstance(const, nodes.Const)
                }
                assert named <= sends, (template, named)
                found += bool(named)
    assert found > 15
