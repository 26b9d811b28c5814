"""A pane with every control in headless Chromium: what the user does, and what is shown then."""

import json

import pytest

from tests.web_utils.browser import needs_browser, serve, wait_for

pytest.importorskip("nicegui", reason="needs requirements-web.txt")
pytest.importorskip("selenium", reason="needs selenium")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.web_utils.person import Person

pytestmark = needs_browser


@pytest.fixture(scope="module")
def address():
    with serve("tests.web_utils.toy_page") as address:
        yield address


class PersonOfToy(Person):
    """Uses the page of the pane, which tells what it knows."""

    def open(
        self, width: int = 1280, height: int = 1400, is_phone: bool = False, query: str = ""
    ) -> None:
        self.resize(width, height, is_phone)
        self.browser.get(f"{self.address}/?{query}")
        wait_for(
            lambda: self.all(".pane-graph polyline") and self.run("return window.did_handshake")
        )

    @property
    def state(self) -> dict:
        """What the pane knows."""
        text = self.run("return document.querySelector('.state').textContent")
        return json.loads(text)

    def expect(self, **values) -> None:
        """Wait until the pane knows these values."""
        wanted = {name: values[name] for name in values}
        try:
            wait_for(lambda: {n: self.state[n] for n in wanted} == wanted, 10)
        except AssertionError:
            assert {n: self.state[n] for n in wanted} == wanted
            raise


@pytest.fixture
def person(browser, address):
    browser.get("about:blank")
    browser.get_log("browser")  # forgets what pages of other tests have said
    person = PersonOfToy(browser, address)
    person.open()
    yield person
    assert person.state["errors"] == []
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []


def test_clicks(person):
    for key in ("Latent/Reset##latent", "Latent/Reset##psi", "Lists/Load", "Other/None##mixing"):
        person.click(key)
    person.expect(clicks=["reset", "psi", "load", "none"])


def test_checkboxes_radios_and_toggles(person):
    person.click("Latent/Round")
    person.click("Lists/1##channels")
    person.click("Other/1##mix")
    person.expect(is_on=True, channels=1)
    wait_for(lambda: person.state["mixed"][:4] == [True, True, False, True])
    person.click("Other/middle")
    wait_for(lambda: all(person.state["mixed"][5:10]))
    toggles = person.all(".pane-grid .pane-toggle button")
    wanted = [str(is_on).lower() for is_on in person.state["mixed"]]
    wait_for(lambda: [e.get_attribute("aria-pressed") for e in toggles] == wanted)
    person.click("Latent/Round")
    person.expect(is_on=False)


def test_whole_numbers(person):
    person.enter("Latent/##seed", "42")
    person.expect(seed=42)
    more, less = "[aria-label$='more']", "[aria-label$='less']"
    for _ in range(3):
        person.click("Latent/##seed", more)
    person.click("Latent/##seed", less)
    person.expect(seed=44)
    person.find("Latent/##seed", "input").send_keys(Keys.ARROW_UP)
    person.expect(seed=45)
    person.shows("Latent/##seed", "45")
    # What the pane does not accept is taken back.
    person.enter("Latent/##seed", "-5")
    person.expect(seed=0)
    person.enter("Latent/##seed", "-5")
    person.shows("Latent/##seed", "0")
    person.enter("Latent/##seed", "none")
    person.shows("Latent/##seed", "0")


def test_sliders_move_and_their_numbers_follow(person):
    person.drag(person.find("Latent/##psi", ".q-slider"), 40)
    wait_for(lambda: person.state["psi"] > 0.8)
    psi = person.state["psi"]
    person.shows("Latent/##psi", f"{psi:.2f}")
    person.run("arguments[0].focus()", person.find("Latent/##psi", "[role=slider]"))
    person.press(Keys.ARROW_RIGHT)
    person.expect(psi=pytest.approx(psi + 0.01))
    person.drag(person.find("Latent/##fraction/1", ".q-slider"), 30)
    wait_for(lambda: person.state["fraction"][1] > 0.55)
    assert person.state["fraction"][0] == 0.25
    person.drag(person.find("Latent/##layers/0", ".q-slider"), 30)
    wait_for(lambda: person.state["layers"][0] > 0)
    person.shows("Latent/##layers/0", str(person.state["layers"][0]))


def test_typed_numbers_may_lie_beyond_a_slider_but_not_beyond_a_speed(person):
    person.enter("Latent/##psi", "2,75")
    person.expect(psi=2.75)
    person.shows("Latent/##psi", "2.75")
    slider = person.find("Latent/##psi", ".q-slider")
    wait_for(lambda: slider.get_attribute("aria-valuenow") == "2")
    person.enter("Latent/##speed", "-9 seeds/s")
    person.expect(speed=-4)
    person.shows("Latent/##speed", "-4.000 seeds/s")
    person.enter("Latent/##cutoff", "5")
    person.expect(cutoff=5)
    person.shows("Latent/##cutoff", "5")
    person.enter("Latent/##cutoff", "14")
    person.shows("Latent/##cutoff", "all")


def test_a_speed_slider_is_finer_near_zero_and_stays_where_it_was_left(person):
    slider = person.find("Latent/##speed", ".q-slider")
    person.enter("Latent/##speed", "0")
    person.expect(speed=0)
    person.drag(slider, slider.size["width"] // 4)
    wait_for(lambda: 0 < person.state["speed"] < 1.5)
    person.shows("Latent/##speed", f"{person.state['speed']:.3f} seeds/s")
    assert float(slider.get_attribute("aria-valuenow")) > 0.3


def test_numbers_and_buttons_to_drag(person):
    person.drag(person.find("Latent/##translate/0"), 50)
    person.expect(translate=[0.2, 0.0])
    person.shows("Latent/##translate/0", "0.200")
    person.enter("Latent/##translate/1", "-3")
    person.expect(translate=[0.2, -3])
    person.find("Latent/##angle", "input").send_keys(Keys.ARROW_DOWN)
    person.expect(angle=-0.25)
    person.drag(person.find("Latent/Drag"), 130, 65)  # 13 pixels are an em
    person.expect(moved=pytest.approx([10, 5]))
    person.find("Latent/Drag", "button").send_keys(Keys.ARROW_DOWN)
    person.expect(moved=pytest.approx([10, 6]))


def test_text_is_told_as_it_is_typed_and_entered_by_the_enter_key(person):
    person.click("Lists/##network", "input")
    person.press("net.pkl")
    person.expect(text="net.pkl", entered=[])
    person.press(Keys.ENTER)
    person.press(Keys.ENTER)
    person.expect(text="net.pkl", entered=["net.pkl", "net.pkl"])


def test_choices(person):
    select = "select"
    person.find("Lists/##colours", select).send_keys("v")
    person.expect(idx=1)
    person.shows("Lists/##colours", "1", select)
    options = [e.text for e in person.all('[data-key="Lists/##colours"] option')]
    assert options[2] == "<b>magma</b>"
    person.find("Lists/##colours", select).send_keys("ref")
    wait_for(lambda: person.state["num_frames"] > 1)
    person.shows("Lists/##colours", "1", select)  # the pane has refused


def test_a_list_is_searched(person):
    person.click("Lists/##name", "button")
    wait_for(lambda: person.run("return document.activeElement.placeholder") == "search")
    person.press("class 99")
    wait_for(lambda: len(person.all(".pane-popup [role=menuitem]")) == 11)
    person.press(Keys.ENTER)
    person.expect(class_idx=99)
    wait_for(lambda: not person.all(".pane-popup"))
    wait_for(lambda: person.find("Lists/##name", "button").text.startswith("class 99"))
    person.shows("Lists/##class", "99")


def test_menus(person):
    person.click("Lists/Browse", "button")
    person.click("Lists/runs##Browse", "button")
    person.click("Lists/1.pkl##Browse", "button")
    person.expect(clicks=["runs/1.pkl"])
    wait_for(lambda: not person.all(".pane-popup"))
    person.click("Lists/Recent", "button")
    person.click("Lists/Recent.pkl", "button")
    person.expect(clicks=["runs/1.pkl", "Recent.pkl"])
    wait_for(lambda: not person.all(".pane-popup"))
    person.click("Lists/Recent", "button")
    wait_for(lambda: person.all(".pane-popup"))
    person.press(Keys.ESCAPE)
    wait_for(lambda: not person.all(".pane-popup"))
    button = person.find("Lists/Recent", "button")
    wait_for(lambda: button.get_attribute("aria-expanded") == "false")


def test_a_table_takes_clicks_and_arrows_and_scrolls_to_the_chosen_row(person):
    person.find("Lists/layers", "[data-idx='4']").click()
    person.expect(row=4)
    listbox = person.find("Lists/layers", "[role=listbox]")
    for _ in range(11):
        listbox.send_keys(Keys.ARROW_DOWN)
    person.expect(row=15)
    wait_for(lambda: listbox.get_property("scrollTop") > 0)
    selected = ".pane-table-list [aria-selected=true]"
    wait_for(lambda: [e.text[:3] for e in person.all(selected)] == ["L15"])


def test_disabled_controls_say_why_and_take_no_input(person):
    person.click("Lists/Blocked")
    person.expect(is_blocked=True)
    wait_for(lambda: not person.find("Latent/Reset##psi", "button").is_enabled())
    wait_for(lambda: not person.find("Latent/##psi", "input").is_enabled())
    person.shows("Latent/##cutoff", "")
    psi = person.state["psi"]
    person.drag(person.find("Latent/##psi", ".q-slider"), 40)
    ActionChains(person.browser).move_to_element(person.find("Latent/Reset##psi")).perform()
    wait_for(lambda: "not truncated" in "".join(e.text for e in person.all(".q-tooltip")))
    assert person.state["psi"] == psi and person.state["clicks"] == []
    person.click("Lists/Blocked")
    person.shows("Latent/##cutoff", "all")


def test_a_section_folds_and_unfolds(person):
    person.click("Other")
    wait_for(lambda: not person.all('[data-key="Other/coarse"]'))
    person.expect(opened=["Latent", "Lists"])
    person.click("Other")
    person.find("Other/coarse")
    person.expect(opened=["Latent", "Lists", "Other"])


def test_a_new_row_leaves_the_elements_of_other_rows(person):
    person.run("document.querySelectorAll('.pane-control').forEach((e) => (e.isOld = true))")
    count = len(person.all(".pane-control"))
    person.click("Latent/##animate")
    person.find("Latent/##speed 2/0")
    old = person.run(
        "return [...document.querySelectorAll('.pane-control')].filter((e) => e.isOld).length"
    )
    assert old == count
    labels = [e.text for e in person.all(".pane-section:first-child .pane-label")]
    assert labels[:5] == ["Seed", "Fraction", "Animate", "Speed 2", "Psi"]


def test_what_the_user_types_is_not_overwritten(person):
    person.click("Latent/##animate")  # psi changes all the time
    frames = person.state["num_frames"]
    person.click("Latent/##psi", "input")
    person.press(Keys.CONTROL, "a")
    person.press("1.2")
    wait_for(lambda: person.state["num_frames"] > frames + 20)
    assert person.find("Latent/##psi", "input").get_property("value") == "1.2"
    person.press(Keys.ESCAPE)
    wait_for(lambda: person.find("Latent/##psi", "input").get_property("value") != "1.2")
    person.click("Lists/##network", "input")
    person.press("half a na")
    frames = person.state["num_frames"]
    wait_for(lambda: person.state["num_frames"] > frames + 10)
    person.press("me")
    person.expect(text="half a name")


def test_what_the_user_drags_is_not_overwritten(person):
    person.click("Latent/##animate")
    slider = person.find("Latent/##speed", ".q-slider")
    chain = ActionChains(person.browser, duration=0).click_and_hold(slider)
    for _ in range(10):
        chain.move_by_offset(4, 0).pause(0.03)
    chain.perform()
    frames = person.state["num_frames"]
    wait_for(lambda: person.state["num_frames"] > frames + 10)
    at = float(slider.get_attribute("aria-valuenow"))
    assert person.state["speed"] == pytest.approx(4 * at**3, abs=0.01)
    ActionChains(person.browser).release().perform()
    assert float(slider.get_attribute("aria-valuenow")) == pytest.approx(at)


def test_input_between_two_frames_adds_up_and_is_not_overwritten(person):
    person.open(query="lag_sec=0.5")
    for _ in range(3):
        person.click("Latent/##seed", "[aria-label$='more']")
    person.drag(person.find("Latent/##translate/0"), 50)
    person.click("Other/1##mix")
    person.click("Other/1##mix")
    person.click("Other/2##mix")
    person.expect(seed=10, translate=[0.2, 0.0])
    wait_for(lambda: person.state["mixed"][:4] == [True, False, True, True])


def test_only_what_differs_is_sent(person):
    person.run(
        "window.updated = [];"
        "const at = (id) => document.getElementById('c' + id)?.closest('[data-key]');"
        "window.socket.on('update', (message) =>"
        " window.updated.push(Object.keys(message).map((id) => at(id)?.dataset.key ?? 'page')));"
    )
    person.click("Latent/##animate")
    frames = person.state["num_frames"]
    wait_for(lambda: person.state["num_frames"] > frames + 20)
    updates = person.run("return window.updated")[3:]
    assert updates
    for keys in updates:  # a slider, its number, and the page's own line of JSON
        assert set(keys) <= {"Latent/##psi", "page"} and len(keys) <= 3


def test_hostile_messages_neither_fail_nor_reach_the_pane(person):
    person.click("Lists/Browse", "button")
    person.find("Lists/runs##Browse")
    before = person.state
    values = ["null", '"x"', "[]", "{}", "1e400", "[1,2,3]", '"\\u0000"', "-1", "[{}, {}]"]
    person.run(
        """
        const keyOf = (id) => document.getElementById("c" + id)?.closest("[data-key]")?.dataset.key;
        for (const [id, element] of Object.entries(mounted_app.elements))
          for (const { type, listener_id } of element.events)
            if (arguments[1].includes(keyOf(id)))
              for (const value of arguments[0])
                for (const args of [[value], [value, value]])
                  if (type !== "click")
                    window.socket.emit("event",
                      { id: Number(id), client_id: window.clientId, listener_id, args });
        """,
        values,
        [
            *("Latent/##seed", "Latent/Drag", "Latent/##speed", "Latent/##angle", "Latent/Round"),
            *("Lists/##network", "Lists/##colours", "Lists/layers", "Lists/Browse"),
        ],
    )
    wait_for(lambda: person.state["num_dropped"] > before["num_dropped"] + 20)
    person.click("Lists/Load")
    wait_for(lambda: "load" in person.state["clicks"])
    now = person.state

    def kinds(value):
        if isinstance(value, list):
            return [*map(kinds, value)]
        return "number" if isinstance(value, float | int) else type(value)

    for name in ("seed", "fraction", "speed", "psi", "cutoff", "translate", "text", "row", "mixed"):
        assert kinds(now[name]) == kinds(before[name])


@pytest.mark.parametrize("width, is_phone", [(390, True), (320, True), (1280, False)])
def test_nothing_overflows(person, width, is_phone):
    person.open(width, 844, is_phone)
    if not is_phone:
        person.click("Latent/##animate")
    assert person.run("return document.documentElement.scrollWidth") <= width
    right = person.run(
        "return Math.max(...[...document.querySelectorAll('.pane-control, .pane-label')]"
        ".map((e) => e.getBoundingClientRect().right))"
    )
    assert right <= width


def test_a_finger_finds_a_slider_beside_its_number(person):
    person.open(390, 844, is_phone=True)
    slider, number = (person.find("Latent/##speed", inner) for inner in (".q-slider", "input"))
    assert slider.rect["width"] > 80 and number.rect["width"] > 100


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_a_pressed_toggle_is_easy_to_read(person, is_dark):
    person.open(query="dark=true" if is_dark else "")
    style = "const style = getComputedStyle(arguments[0]); return [style.color, style.background];"
    toggle = person.find("Other/0##mix", "button")
    wait_for(lambda: "rgb(21, 101, 192)" in person.run(style, toggle)[1])
    assert person.run(style, toggle)[0] == "rgb(255, 255, 255)"  # a contrast of 5.7


def test_every_control_has_a_name_for_people_who_hear_the_page(person):
    person.click("Latent/##animate")
    person.find("Latent/##speed 2/0")
    nameless = person.run(
        "return [...document.querySelectorAll("
        "'.panes :is(button, input:not(.hidden), select, [role=slider], [role=listbox],"
        " [role=checkbox], [role=radio])')]"
        ".filter((e) => !e.ariaLabel && !e.textContent.trim()).map((e) => e.outerHTML)"
    )
    assert nameless == []


def test_no_other_host_is_asked(person):
    urls = person.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert urls and all(url.startswith(person.address) for url in urls)
