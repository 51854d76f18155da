"""Templates are compiled once for all languages and translated in each."""

import httpx
from web_server import running_web

from hedgerow.dashboards.templating import make_environment
from hedgerow.dashboards.words.languages import language


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


def test_warming_leaves_nothing_to_compile(tmp_path, monkeypatch):
    """Warming compiles templates and prepares routes before the first request."""
    compiled: list[object] = []
    real = make_environment(language("en")).__class__.compile

    def compile_counted(*given, **more):
        compiled.append(given)
        return real(*given, **more)

    with running_web(tmp_path, warm=True) as web:
        monkeypatch.setattr("jinja2.Environment.compile", compile_counted)
        assert httpx.get(f"{web.url}/start", trust_env=False).status_code == 200
    assert compiled == []
