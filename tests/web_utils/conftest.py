"""The browser, for all tests of this folder."""

from tests.web_utils.browser import browser

__all__ = ["browser"]
