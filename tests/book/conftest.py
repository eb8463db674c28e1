"""The built pages, and a real browser that reaches nothing but this machine."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from common import HTML, pdf


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address():
    if not (HTML / "index.html").exists():
        pytest.skip("the book is not built: run `make book`")
    handler = functools.partial(Quiet, directory=str(HTML))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if not (pdf.CHROMIUM.exists() and pdf.DRIVER.exists()):
        pytest.skip("no Chromium: install Debian's chromium and chromium-driver")
    found = pdf.chromium(
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        **{"goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"}},
    )
    yield found
    found.quit()
