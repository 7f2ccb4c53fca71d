"""The page in a headless Chromium, as a person uses it: pytest -m browser."""

from __future__ import annotations

import threading
import time

import pytest

pyspiel = pytest.importorskip("pyspiel")

import chromium  # noqa: E402
from playing import SIMULATIONS, session  # noqa: E402

from muzen.web.api import Api, ApiError  # noqa: E402
from muzen.web.server import PlayServer  # noqa: E402
from muzen.web.tables import Tables  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(chromium.missing()), reason=chromium.missing() or "never"),
    pytest.mark.filterwarnings("default"),  # the driver's own affairs
]
PATIENCE_S = 60


class Serving:
    """A server of one game that can go away and come back at the same port."""

    def __init__(self, game, folder, **flags):
        self.game, self.folder, self.port = game, folder, 0
        self.start(**flags)

    def start(self, asked="", **flags):
        given = {"run": self.folder, **flags}
        self.api = Api(Tables(lambda **options: session(self.game, **{**given, **options}), asked=asked))
        self.server = PlayServer("127.0.0.1", self.port, self.api)
        self.port, self.url = self.server.server_port, self.server.url
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Page:
    """What a person sees and does."""

    def __init__(self, driver, url):
        self.driver = driver
        driver.get(url)
        self.idle()

    def script(self, code, *given):
        return self.driver.execute_script(f"return {code}", *given)

    def until(self, what, code, *given):
        """Waits for JavaScript to be true."""
        end = time.monotonic() + PATIENCE_S
        while not self.script(code, *given):
            assert time.monotonic() < end, f"{what}: {self.text('#status')} {self.text('#banner')}"
            time.sleep(0.05)

    def idle(self):
        self.until(
            "idle",
            "!document.body.classList.contains('busy') && document.querySelector('#title').textContent !== ''"
            " && document.querySelector('#thoughts tbody tr, #status.over') !== null"
            " && document.querySelector('#thoughts').ariaBusy !== 'true'",
        )

    def text(self, selector):
        return self.script("document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def all(self, selector):
        return self.script("[...document.querySelectorAll(arguments[0])].map((e) => e.innerText.trim())", selector)

    def click(self, selector):
        self.driver.find_element("css selector", selector).click()

    def press(self, *keys):
        self.driver.switch_to.active_element.send_keys(*keys)

    def play(self, selector):
        """Clicks a move, and waits for the reply."""
        before = len(self.all("#moves .played"))
        self.click(selector)
        self.until("a reply", "document.querySelectorAll('#moves .played').length >= arguments[0]", before + 1)
        self.idle()

    def choose(self, selector, value):
        """Gives a field a value, as a person does."""
        change = "(e, value) => { e.value = value; e.dispatchEvent(new Event('change')); }"
        self.script(f"({change})(document.querySelector(arguments[0]), arguments[1])", selector, value)

    def cells(self):
        """What every cell is called, for those who cannot see it."""
        return self.script("[...document.querySelectorAll('.cell')].map((c) => c.getAttribute('aria-label'))")

    def errors(self):
        """What the browser complains about, but for requests that were to fail."""
        return [e["message"] for e in self.driver.get_log("browser") if "Failed to load resource" not in e["message"]]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with chromium.chromium(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def open_page(driver, tmp_path):
    servings = []

    def opened(game="openspiel:tic_tac_toe", **flags):
        servings.append(Serving(game, tmp_path, **flags))
        return Page(driver, servings[-1].url), servings[-1]

    yield opened
    for serving in servings:
        serving.stop()
    driver.get("about:blank")


def test_a_game_is_played_with_what_the_agent_thinks(open_page):
    page, _ = open_page()
    assert "Your move: you are player 1 (x)." in page.text("#status")
    page.play('[data-cell="1,1"]')
    assert len(page.all("#moves .played")) == 2 and page.all("#moves .played")[0] == "x(1,1)"
    assert sum("empty" not in cell for cell in page.cells()) == 2
    visits = [int(text) for text in page.all("#thoughts tbody td:nth-child(2)")]
    assert len(visits) == 7 and sum(visits) == SIMULATIONS
    assert page.text("#line").startswith("Expects x(") and "12 simulations" in page.text("#worth")
    assert page.script("document.querySelectorAll('#chart .dot').length") == 3
    assert len(page.all("#balance .share")) == 2
    assert page.errors() == []


def test_thoughts_of_the_position_before_are_shown_as_such_until_new_ones_are_there(open_page, monkeypatch):
    page, serving = open_page()
    answer, asked, go = serving.api._position, threading.Event(), threading.Event()

    def late(*given, **named):
        asked.set()
        assert go.wait(PATIENCE_S)
        return answer(*given, **named)

    monkeypatch.setattr(serving.api, "_position", late)
    page.click('[data-cell="1,1"]')
    assert asked.wait(PATIENCE_S)
    page.until("the reply", "document.querySelectorAll('#moves .played').length === 2")
    assert page.script("document.querySelector('#thoughts').ariaBusy") == "true"
    go.set()
    page.idle()
    assert len(page.all("#thoughts tbody tr")) == 7


def test_visits_can_be_marked_on_the_board(open_page):
    page, _ = open_page()
    assert page.all(".mark") == []
    page.click("#marks")
    page.until("marks", "document.querySelectorAll('.mark').length > 1")
    assert page.script("document.querySelectorAll('.mark.best').length") == 1
    page.click("#marks")


def test_a_reload_goes_on_with_the_game(open_page):
    page, serving = open_page()
    page.play('[data-cell="0,0"]')
    moves, cells = page.all("#moves .played"), page.cells()
    page.driver.refresh()
    page.idle()
    assert page.all("#moves .played") == moves and page.cells() == cells
    page.driver.get("about:blank")  # the browser goes away, and comes back without the address of the game
    page.driver.get(serving.url)
    page.idle()
    assert page.all("#moves .played") == moves and page.cells() == cells


def test_taking_back_the_side_the_simulations_and_a_new_game(open_page):
    page, _ = open_page()
    page.play('[data-cell="0,0"]')
    page.click("#back")
    page.until("taken back", "document.querySelectorAll('#moves .played').length === 0")
    page.idle()
    page.choose("#seat", "1")
    page.until("the agent begins", "document.querySelectorAll('#moves .played').length === 1")
    page.idle()
    assert "you are player 2 (o)" in page.text("#status")
    page.choose("#simulations", "5")
    page.until("five simulations", "document.querySelector('#worth').innerText.includes('5 simulations')")
    page.choose("#simulations", "0")
    page.until("an error", "document.querySelector('#banner').innerText.includes('simulations: 0 is not')")
    page.idle()
    page.click("#new")
    page.until(
        "a new game",
        "document.querySelectorAll('#moves .played').length === 1 && !document.querySelector('#banner').innerText",
    )
    page.idle()
    assert page.script("document.querySelector('#seat').value") == "1"


def test_the_past_can_be_looked_at_and_left(open_page):
    page, _ = open_page()
    page.play('[data-cell="1,1"]')
    page.click("#moves .played")
    page.until("the past", "document.querySelector('#review-text').innerText === 'Looking at move 1 of 2'")
    page.until(
        "its board", "[...document.querySelectorAll('.cell')].filter((c) => c.querySelector('.piece')).length === 1"
    )
    page.click("#live")
    page.until("the present", "document.querySelector('#review').hidden")
    page.until(
        "its board", "[...document.querySelectorAll('.cell')].filter((c) => c.querySelector('.piece')).length === 2"
    )


def test_the_keyboard_is_enough(open_page):
    page, _ = open_page()
    page.script("document.querySelector('[data-cell=\"0,0\"]').focus()")
    page.press("\ue014", "\ue015")  # right, down
    assert page.script("document.activeElement.dataset.cell") == "1,1"
    page.press("\ue007")  # enter
    page.until("a reply", "document.querySelectorAll('#moves .played').length === 2")
    page.idle()
    assert page.all("#moves .played")[0] == "x(1,1)"
    assert page.script("document.activeElement.dataset.cell") == "1,1"
    page.press("u")
    page.until("taken back", "document.querySelectorAll('#moves .played').length === 0")


def test_an_occupied_cell_changes_nothing(open_page):
    page, _ = open_page()
    page.play('[data-cell="1,1"]')
    page.click('[data-cell="1,1"]')
    page.idle()
    assert len(page.all("#moves .played")) == 2


def test_a_server_that_goes_away_is_said_and_the_game_goes_on_when_it_is_back(open_page):
    page, serving = open_page()
    page.play('[data-cell="1,1"]')
    moves = page.all("#moves .played")
    serving.stop()
    empty = page.script("[...document.querySelectorAll('.cell.target')][0].dataset.cell")
    page.click(f'[data-cell="{empty}"]')
    page.until("it is said", "document.querySelector('#banner').innerText.includes('The server does not answer')")
    serving.start()  # with none of its games
    page.until("it is back", "!document.querySelector('#banner').innerText.includes('does not answer')")
    page.idle()
    assert page.all("#moves .played") == moves
    page.play(f'[data-cell="{empty}"]')
    assert page.all("#moves .played")[:2] == moves


def test_a_server_that_is_started_for_something_else_begins_a_new_game(open_page):
    page, serving = open_page()
    page.play('[data-cell="1,1"]')
    for returns in ("reload", "click", "look"):
        serving.stop()
        serving.start(asked=f"side 2, {returns}", seat=1, simulations=5)
        if returns == "reload":
            page.driver.refresh()
        elif returns == "click":
            page.click("#back")
        else:
            page.script("document.dispatchEvent(new Event('visibilitychange'))")
        page.until("it is said", "document.querySelector('#banner').innerText.includes('this is a new game')")
        page.idle()
        assert len(page.all("#moves .played")) == 1  # the agent's first
        assert page.script("document.querySelector('#seat').value") == "1"
        assert page.script("document.querySelector('#simulations').value") == "5"
        page.play(page.script("'[data-cell=\"' + document.querySelector('.cell.target').dataset.cell + '\"]'"))


def test_two_tabs_show_the_same_game(open_page):
    page, serving = open_page()
    page.play('[data-cell="1,1"]')
    game = page.script("location.hash.slice(1)")
    state = serving.api.answer("GET", f"/api/games/{game}")
    free = state["legal"][0]["action"]
    serving.api.answer("POST", f"/api/games/{game}/move", {"action": free, "version": 2})  # the other tab
    serving.api.answer("POST", f"/api/games/{game}/reply", {"version": 3})
    page.click(".cell.target")
    page.until("the other tab's moves", "document.querySelectorAll('#moves .played').length === 4")
    assert "moved on in another page" in page.text("#banner")


def test_another_line_of_the_same_length_in_another_tab_is_shown_before_anything_is_played(open_page):
    page, serving = open_page()
    page.play('[data-cell="1,1"]')
    path = f"/api/games/{page.script('location.hash.slice(1)')}"
    serving.api.answer("POST", f"{path}/back", {"version": 2})  # the other tab
    serving.api.answer("POST", f"{path}/move", {"action": 0, "version": 3})
    serving.api.answer("POST", f"{path}/reply", {"version": 4})
    page.script("document.dispatchEvent(new Event('visibilitychange'))")
    page.until("the other line", "document.querySelector('#moves .played').innerText === 'x(0,0)'")
    page.idle()
    assert page.script("document.querySelector('[data-cell=\"0,0\"] .piece') !== null")


@pytest.mark.parametrize("status", [500, 409])
def test_a_reply_that_is_refused_is_asked_for_again_by_the_person_alone(open_page, status):
    page, serving = open_page()
    reply, asked = serving.api._reply, []

    def refuse(**given):
        asked.append(given)
        raise ApiError(status, "Planted", "out of memory")

    serving.api._reply = refuse
    page.click('[data-cell="1,1"]')
    page.until("it is said", "document.querySelector('#banner').innerText.includes('out of memory')")
    page.until("a way out", "!document.querySelector('#next').hidden && !document.querySelector('#next').disabled")
    page.script("document.dispatchEvent(new Event('visibilitychange'))")
    time.sleep(0.3)  # what should not happen takes no time to be waited for
    assert len(asked) == 1
    serving.api._reply = reply
    assert page.text("#next") == "Ask the agent again"
    page.click("#next")
    page.until("a reply", "document.querySelectorAll('#moves .played').length === 2")
    page.idle()
    assert page.script("document.querySelector('#next').hidden") and page.text("#banner") == ""


def test_what_is_chosen_while_the_agent_thinks_is_not_forgotten(open_page):
    page, serving = open_page()
    reply, thinks, done = serving.api._reply, threading.Event(), threading.Event()

    def slow(**given):
        thinks.set()
        assert done.wait(30)
        return reply(**given)

    serving.api._reply = slow
    page.click('[data-cell="1,1"]')
    assert thinks.wait(30)
    page.choose("#simulations", "5")
    done.set()
    page.until("a reply", "document.querySelectorAll('#moves .played').length === 2")
    page.until("thoughts", "document.querySelector('#worth').innerText.includes('5 simulations')")
    assert page.script("document.querySelector('#simulations').value") == "5"


def test_the_browsers_back_returns_to_the_game_before_a_new_one(open_page):
    page, _ = open_page()
    page.play('[data-cell="1,1"]')
    moves = page.all("#moves .played")
    page.script("document.activeElement.blur()")
    page.press("n")
    page.until("a new game", "document.querySelectorAll('#moves .played').length === 0")
    page.idle()
    assert "not lost" in page.text("#banner")
    page.driver.back()
    page.until("the old one", "document.querySelectorAll('#moves .played').length === 2")
    page.idle()
    assert page.all("#moves .played") == moves


def test_a_promotion_is_asked_for_and_stays_asked_for_while_the_agent_thinks(open_page):
    page, serving = open_page("openspiel:chess")
    state, moves = pyspiel.load_game("chess").new_initial_state(), []
    for name in ("a4", "b5", "axb5", "a6", "bxa6", "Bb7", "axb7", "h6"):
        moves.append(state.string_to_action(name))
        state.apply_action(moves[-1])
    game = serving.api.answer("POST", "/api/games", {"seat": 1, "moves": moves})  # white's
    page.driver.get(f"{serving.url}#{game['id']}")
    page.until("that game", "document.querySelectorAll('#moves .played').length === 8")
    page.idle()
    page.click('[data-cell="1,1"]')
    page.click('[data-cell="0,0"]')
    assert page.text("#status") == "Which of these?"
    assert len(page.all("#choices button")) == 4
    page.script("document.querySelector('#hints').dispatchEvent(new Event('change'))")  # thinks once more
    page.idle()
    assert len(page.all("#choices button")) == 4 and page.text("#status") == "Which of these?"
    page.click("#choices button")
    page.until("it is played", "document.querySelectorAll('#moves .played').length >= 9")
    assert "=" in page.all("#moves .played")[8]


def test_more_players_than_colours_have_a_line_each(open_page):
    page, _ = open_page("openspiel:pig(players=5)")
    lines = page.script("[...document.querySelectorAll('polyline.chance')].map((e) => getComputedStyle(e).stroke)")
    assert len(lines) == 5 and "none" not in lines
    shares = page.script("[...document.querySelectorAll('.share')].map((e) => getComputedStyle(e).backgroundColor)")
    assert len(shares) == 5 and "rgba(0, 0, 0, 0)" not in shares


def test_a_finished_game_says_who_has_won_and_where_it_is_kept(open_page, tmp_path):
    page, _ = open_page()
    while "over" not in page.script("document.querySelector('#status').className"):
        page.click(".cell.target")
        page.until("a reply", "!document.body.classList.contains('busy')")
        page.idle()
    assert any(word in page.text("#status") for word in ("won", "draw"))
    assert str(tmp_path / "games" / "play-1.jsonl") in page.text("#kept")
    assert (tmp_path / "games" / "play-1.jsonl").is_file()


def test_a_column_is_chosen_by_any_of_its_cells(open_page):
    page, _ = open_page("openspiel:connect_four")
    page.play('[data-cell="0,3"]')
    assert page.all("#moves .played")[0] == "x3"
    assert page.script("document.querySelector('[data-cell=\"5,3\"] .piece') !== null")


def test_a_piece_is_moved_by_two_cells(open_page):
    page, _ = open_page("openspiel:breakthrough")
    page.click('[data-cell="1,0"]')
    page.until("targets", "document.querySelectorAll('.cell.target').length === 2")
    page.play('[data-cell="2,0"]')
    assert page.all("#moves .played")[0] == "a7a6"


def test_the_board_can_be_turned(open_page):
    page, _ = open_page("openspiel:breakthrough")
    cells = page.cells()
    page.click("#turn")
    assert page.cells() == cells[::-1]


def test_a_game_without_a_board_has_buttons_and_number_keys(open_page):
    page, _ = open_page("openspiel:pig")
    assert page.all("#choices button") == ["roll", "stop"]
    page.script("document.body.focus()")
    page.press("1")
    page.until("a roll", "document.querySelector('#moves').innerText.includes('Roll')")
    assert "Scores:" in page.text("#text")


def test_a_solitary_game_is_steered_by_arrow_keys(open_page):
    page, _ = open_page("openspiel:2048")
    before = page.cells()
    for key in ("\ue012", "\ue013", "\ue014", "\ue015"):
        page.press(key)
        page.idle()
    assert page.all("#moves .played") and page.cells() != before
    assert page.script("document.querySelector('#chance-card').hidden")


def test_nothing_is_wider_than_a_phone(open_page):
    page, _ = open_page("openspiel:othello")
    page.play(".cell.target")
    size = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    try:
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert page.script("document.documentElement.scrollWidth") <= 360
        assert page.script(
            "[...document.querySelectorAll('.cell')].every((c) => c.getBoundingClientRect().right <= 360)"
        )
    finally:
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "width": 1200, "mobile": False})
