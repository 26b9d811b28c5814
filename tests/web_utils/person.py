"""A person in front of a page: mouse and keyboard on the controls of `web_utils.panes`."""

from typing import Any

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.web_utils.browser import wait_for


class Person:
    """Uses a page.

    Args:
        browser: A driver of selenium.
        address: Of the page.
    """

    def __init__(self, browser: Any, address: str) -> None:
        self.browser = browser
        self.address = address

    def resize(self, width: int, height: int, is_phone: bool = False) -> None:
        """Give the page a size, in its own pixels."""
        size = dict(width=width, height=height, deviceScaleFactor=1, mobile=is_phone)
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        touch = dict(enabled=is_phone)
        self.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", touch)

    def run(self, script: str, *args: Any) -> Any:
        """Run JavaScript in the page."""
        return self.browser.execute_script(script, *args)

    def all(self, selector: str) -> list:
        """The elements of a selector of CSS."""
        return self.browser.find_elements("css selector", selector)

    def find(self, key: str, inner: str = "") -> Any:
        """An element of a control, by its key."""
        return wait_for(lambda: self.all(f'[data-key="{key}"] {inner}'))[0]

    def click(self, key: str, inner: str = "") -> None:
        """Click on a control."""
        self.find(key, inner).click()

    def shows(self, key: str, value: str, inner: str = "input") -> None:
        """Wait until a field shows a text."""
        try:
            wait_for(lambda: self.find(key, inner).get_property("value") == value, 10)
        except AssertionError:
            assert self.find(key, inner).get_property("value") == value
            raise

    def enter(self, key: str, text: str, inner: str = "input") -> None:
        """Type into a field in place of what is there."""
        self.click(key, inner)
        self.press(Keys.CONTROL, "a")
        self.press(text)
        self.press(Keys.ENTER)

    def press(self, *keys: str) -> None:
        """Type text, or press a key while others are held."""
        chain = ActionChains(self.browser, duration=0)
        for key in keys[:-1]:
            chain.key_down(key)
        chain.send_keys(keys[-1])
        for key in keys[:-1]:
            chain.key_up(key)
        chain.perform()

    def drag(self, element: Any, dx: int, dy: int = 0) -> None:
        """Press on the middle of an element, move, release."""
        chain = ActionChains(self.browser, duration=20).click_and_hold(element)
        for _ in range(5):
            chain.move_by_offset(dx // 5, dy // 5)
        chain.release().perform()
