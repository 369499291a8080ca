"""Object stores by name: what the user has allowed to be read, and nothing else.

A manifest holds names of stores and keys of objects, never addresses. The settings of a store hold no secret: each
kind of store finds its credentials by its own conventions, in the process that reads.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from avssl.media.source import SourceError

ENVIRONMENT = (
    "AVSSL_STORES"  # by which processes started later, also those that import everything anew, get the settings
)
SCHEMES = ("s3", "gs", "az", "https", "http")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")  # two characters or more: `C:` is a drive


@dataclass(frozen=True)
class Store:
    """Where objects lie, and how they are asked for. Credentials are not among the settings.

    Args:
        url: ``s3://bucket/prefix``, ``gs://…``, ``az://…`` or ``https://host/prefix``; keys are relative to it.
        endpoint: address of a server that speaks the protocol of ``s3``, ``gs`` or ``az``, such as
            ``https://minio.example.org``; None for the provider's own.
        region: region of an S3 bucket; None for that of the profile or the environment.
        profile: profile of the AWS configuration files that holds the credentials.
        anonymous: send no credentials.
        allow_http: allow addresses without encryption.
        timeout: seconds to connect, and seconds without a byte, before a request is repeated.
        deadline: seconds for one read, with all repetitions.
        retries: repetitions of a request that fails for a reason that may pass.
        requests_per_second: at most so many requests per second and process; None for any number.

    Raises:
        ValueError: for an address that is none, holds credentials or isn't encrypted, or a value out of range.
    """

    url: str
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    anonymous: bool = False
    allow_http: bool = False
    timeout: float = 20.0
    deadline: float = 120.0
    retries: int = 8
    requests_per_second: float | None = None

    def __post_init__(self) -> None:
        for what, address, schemes in (("url", self.url, SCHEMES), ("endpoint", self.endpoint, SCHEMES[-2:])):
            if address is not None:
                _check_address(what, address, schemes, self.allow_http)
        if self.endpoint is not None and self.scheme not in SCHEMES[:3]:
            raise ValueError("endpoint: an HTTP store has none, its url is its address")
        if self.scheme != "s3" and (self.region or self.profile):
            raise ValueError(f"region and profile belong to s3 stores, this one is {self.scheme}")
        if self.anonymous and self.profile:
            raise ValueError("anonymous stores use no profile: leave one of the two out")
        if self.anonymous and self.scheme == "az" and not self.endpoint:
            raise ValueError("an anonymous az store needs its endpoint, https://ACCOUNT.blob.core.windows.net")
        for name in ("timeout", "deadline", "requests_per_second"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value}: expected more than 0")
        if self.retries < 0:
            raise ValueError(f"retries={self.retries}: expected 0 or more")

    @property
    def scheme(self) -> str:
        """The part of the address before ``://``."""
        return urlsplit(self.url).scheme

    @property
    def bucket(self) -> str:
        """The bucket or container, or the host and port of an HTTP store."""
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        """What precedes each key, without slashes around it."""
        return urlsplit(self.url).path.strip("/")


@dataclass(frozen=True)
class Settings:
    """All stores of a process, and where copies of their objects are kept. Picklable, without secrets.

    Attributes:
        stores: stores by name.
        cache: folder for copies of whole objects; None keeps none.
        cache_gb: size of that folder in GB; what was used least recently goes first.
    """

    stores: dict[str, Store] = field(default_factory=dict)
    cache: str | None = None
    cache_gb: float = 100.0


_current: list[Settings] = []  # one of this process, once it is known


def settings() -> Settings:
    """Return the settings of this process: those given, else those of the process that started it, else the user's."""
    if not _current:
        handed_on = os.environ.get(ENVIRONMENT)
        _current.append(_thawed(json.loads(handed_on)) if handed_on else user_settings())
    return _current[0]


def use(new: Settings) -> None:
    """Make these the settings of this process and of those that it starts."""
    _current[:] = [new]
    os.environ[ENVIRONMENT] = json.dumps(asdict(new), sort_keys=True)


def name_stores(stores: Mapping[str, Store] | None = None, cache: str | None = None, cache_gb: float = 100.0) -> None:
    """Add stores to those of this process, and choose the folder for copies.

    Raises:
        ValueError: if a name isn't made of letters, digits and ``_.-``, or the cache has no room.
    """
    if not stores and cache is None:
        return
    before = settings()
    for name in stores or ():
        if not _NAME.fullmatch(name):
            raise ValueError(f"store {name!r}: a name has two or more letters, digits, '_', '.' and '-'")
    if not cache_gb > 0:
        raise ValueError(f"cache_gb={cache_gb}: expected more than 0")
    kept = (before.cache, before.cache_gb) if cache is None else (os.path.abspath(cache), cache_gb)
    use(Settings({**before.stores, **(stores or {})}, *kept))


def find_store(name: str) -> Store:
    """Return the store of that name.

    Raises:
        SourceError: ``store_unknown``.
    """
    store = settings().stores.get(name)
    if store is None:
        raise unknown_store(f"{name}:", f"no store is named {name!r}", name)
    return store


def parse_stores(words: Iterable[str]) -> dict[str, Store]:
    """Return the stores that a command line names.

    Args:
        words: ``s3://bucket/prefix``, which is named after its bucket, or ``NAME=s3://bucket/prefix``; settings follow
            after commas: ``NAME=s3://bucket,endpoint=http://127.0.0.1:9000,allow_http=true``.

    Raises:
        ValueError: if a word isn't of this form.
    """
    found = {}
    for word in words:
        first, *options = word.split(",")
        name, equals, url = first.partition("=")
        if not equals or "/" in name:
            name, url = re.sub(r"[^A-Za-z0-9_.-]", "-", urlsplit(first).netloc.rpartition("@")[2]), first
        pairs = [option.partition("=")[::2] for option in options]
        found[name] = make_store(name, {"url": url, **{key: yaml.safe_load(value) for key, value in pairs}})
    return found


def gather(words: Iterable[str], option: str = "--data.stores.") -> list[str]:
    """Return the words of a command line with one word for each store, ``--data.stores.NAME={...}``.

    Raises:
        ValueError: if a store can't be made from its settings.
    """
    kept, found = [], dict[str, dict[str, Any]]()
    for word in words:
        place, equals, value = word.removeprefix(option).partition("=")
        name, dot, setting = place.rpartition(".")
        if word.startswith(option) and equals and dot:
            found.setdefault(name, {})[setting] = yaml.safe_load(value)
        else:
            kept.append(word)
    for name, values in found.items():
        make_store(name, values)
        kept.append(f"{option}{name}={json.dumps(values)}")
    return kept


def make_stores(tree: Mapping[str, Any] | None) -> dict[str, Store]:
    """Return the stores of a config: names, and below each its settings.

    Raises:
        ValueError: naming the store and the setting.
    """
    return {name: make_store(name, values) for name, values in (tree or {}).items()}


def make_store(name: str, values: Mapping[str, Any]) -> Store:
    """Return the store with these settings; an error never shows a value that may hold a secret.

    Raises:
        ValueError: naming the store and the setting.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"store {name!r}: expected its settings, such as url")
    known = {each.name for each in fields(Store)}
    unknown = sorted(set(values) - known)
    if unknown:
        why = f"no setting is called {unknown[0]!r}; there are {', '.join(sorted(known))}"
        raise ValueError(f"store {name!r}: {why}. Credentials are found by the provider's own conventions")
    if "url" not in values:
        raise ValueError(f"store {name!r}: its url is missing")
    try:
        return Store(**values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"store {name!r}: {error}") from None


def user_settings() -> Settings:
    """Read ``stores.yaml`` of the user's config folder, ``$XDG_CONFIG_HOME/avssl`` or ``~/.config/avssl``.

    Raises:
        ValueError: if it isn't a mapping of names to settings.
    """
    path = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "avssl" / "stores.yaml"
    if not path.is_file():
        return Settings()
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return Settings(make_stores(tree))
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        why = error if isinstance(error, ValueError) else "expected names of stores, and below each its settings"
        raise ValueError(f"{path}: {why}") from None


def _thawed(tree: dict[str, Any]) -> Settings:
    return Settings(**{**tree, "stores": {name: Store(**values) for name, values in tree["stores"].items()}})


def _check_address(what: str, address: str, schemes: tuple[str, ...], allow_http: bool) -> None:
    """Refuse an address without repeating it: it may hold a password."""
    parts = urlsplit(address)
    if parts.scheme not in schemes or not parts.hostname or address != address.strip():
        raise ValueError(f"{what}: expected an address that begins with {', '.join(f'{each}://' for each in schemes)}")
    if parts.username is not None or parts.query or parts.fragment:
        why = "an address must hold no user, password, '?' or '#'"
        raise ValueError(f"{what}: {why}; credentials are found by the provider's own conventions")
    if parts.scheme == "http" and not allow_http:
        raise ValueError(f"{what}: http:// isn't encrypted; use https://, or set allow_http to allow it")
    if any(part in (".", "..") for part in parts.path.split("/")):
        raise ValueError(f"{what}: the path holds '.' or '..'")


def unknown_store(place: str, why: str, name: str) -> SourceError:
    """Return the error of a store that isn't named, with the remedy."""
    names = sorted(settings().stores)
    known = f" (there {'is' if len(names) == 1 else 'are'} {', '.join(names)})" if names else " (there are none)"
    remedy = (
        f"Name its store: --data.stores.{name}.url=s3://bucket in a training, --stores {name}=s3://bucket in other "
        "commands, or an entry in ~/.config/avssl/stores.yaml"
    )
    return SourceError(place, "store_unknown", why + known, remedy)
