"""The elements of a page, for tests that read it as its readers do."""

from html.parser import HTMLParser

EMPTY = {"meta", "input", "br", "link", "img", "hr"}


class Tree(HTMLParser):
    """Every element of a page with its ancestors, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), tuple(self._open))
        self.elements.append(element)
        if tag not in EMPTY:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.words += data

    def all(self, *tags: str) -> list["Element"]:
        return [one for one in self.elements if one.tag in tags]


class Element:
    def __init__(self, tag: str, attributes: dict[str, str | None], within: tuple["Element", ...]) -> None:
        self.tag, self.attributes, self.within, self.words = tag, attributes, within, ""
