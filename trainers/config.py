"""hospital.toml, the configuration of one hospital's node. Unknown keys are refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hmchain.blobs import check_spec
from hmchain.errors import UsageError
from hmchain.files import read_toml
from hmchain.manifest import check_features
from hmchain.record import Code
from trainers.importers.measures.observations import LOINC, is_loinc

FILE = "hospital.toml"


def _named(path: Path) -> Path:
    if not path.name or "\0" in str(path):
        raise ValueError("names no file")
    return path


def _possible(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("names no folder")
    return path


File = Annotated[Path, AfterValidator(_named)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Mebibytes = Annotated[int, Field(ge=0, lt=2**43)]  # so many bytes fit into the 64 bits that the system counts in
Role = Literal["client", "master", "proposer", "coordinator"]


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KeyFiles(Section):
    """[keys]"""

    operator: File = Path("keys/operator.json")
    encryption: File = Path("keys/encryption.json")
    password_file: File | None = None


class Chain(Section):
    """[chain]"""

    urls: tuple[str, ...] = Field(default=("http://127.0.0.1:8545",), min_length=1)
    consortium: File = Path("consortium.json")
    poll_seconds: Seconds = 1.0
    timeout_seconds: Seconds = 30.0


class Blobs(Section):
    """[blobs]"""

    store: str = "ipfs:/ip4/127.0.0.1/tcp/5001"
    timeout_seconds: Seconds = 30.0

    @field_validator("store")
    @classmethod
    def _is_store(cls, value: str) -> str:
        try:
            check_spec(value)
        except UsageError as fault:
            raise ValueError(str(fault)) from None
        return value


class Data(Section):
    """[data]"""

    source: Literal["file", "records"] = "file"
    file: File = Path("data.npz")
    service: Literal["imaging", "clinical-research", "neuroscience"] = "imaging"
    features: tuple[str, ...] = ()
    label: str = ""

    @field_validator("features")
    @classmethod
    def _are_quantities(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            code, _ = quantity_named(text)
            if code.system == LOINC and not is_loinc(code.code):
                raise ValueError(f"{text!r:.80} is no LOINC code: its last digit does not check the others")
        try:
            if value:
                check_features(value)
        except UsageError as fault:
            raise ValueError(str(fault)) from None
        return value

    @field_validator("label")
    @classmethod
    def _is_code(cls, value: str) -> str:
        if value:
            Code.parse(value)
        return value

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        """Each service has the keys that it needs, and none that it would ignore."""
        if bool(self.features) != (self.service == "clinical-research"):
            raise ValueError("features is what clinical-research needs, and no other service has")
        if bool(self.label) != (self.service != "imaging"):
            raise ValueError("label is what clinical-research and neuroscience need, and imaging has not")
        return self


def quantity_named(text: str) -> tuple[Code, str]:
    """The code and the unit ("" for none) in "system|code" or "system|code|unit". Raises ValueError."""
    parts = text.split("|")
    if len(parts) == 3 and not parts[2]:
        raise ValueError(f"{text!r:.80} has an empty unit")
    return Code.parse("|".join(parts[:2] if len(parts) == 3 else parts)), parts[2] if len(parts) == 3 else ""


class Records(Section):
    """[records]"""

    folder: Annotated[Path, AfterValidator(_possible)] = Path("records")
    zone: str = "UTC"
    release: bool = True
    lost: frozenset[int] = frozenset()


class Roles(Section):
    """[roles]"""

    decline: frozenset[Role] = frozenset()
    jobs: frozenset[int] = frozenset()
    modules: frozenset[str] = frozenset()


class Coordinator(Section):
    """[coordinator]"""

    start_after_seconds: Annotated[float, Field(ge=0)] = 600.0


class Limits(Section):
    """[limits]"""

    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    memory_mib: Mebibytes = 0
    disk_mib: Mebibytes = 0
    training_seconds: Seconds = 3600.0
    worker_idle_seconds: Seconds = 60.0


class Log(Section):
    """[log]"""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Health(Section):
    """[health]"""

    listen: str | None = None
    max_block_age_seconds: Seconds = 60.0

    @field_validator("listen")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            address_of(value)
        return value


class Config(Section):
    """A whole hospital.toml. Relative paths in the file are resolved against its folder."""

    name: str = Field(min_length=1)
    state: File = Path("state.json")
    keys: KeyFiles = KeyFiles()
    chain: Chain = Chain()
    blobs: Blobs = Blobs()
    data: Data = Data()
    records: Records = Records()
    roles: Roles = Roles()
    coordinator: Coordinator = Coordinator()
    limits: Limits = Limits()
    log: Log = Log()
    health: Health = Health()

    @property
    def training_sets(self) -> Path:
        """The folder in which the node keeps what it trained on."""
        return self.state.parent / "training-sets"

    @property
    def training_file(self) -> Path:
        """The data file to train on: the hospital's own, or the one that the node makes of consented records."""
        return self.records.folder / "consented.npz" if self.data.source == "records" else self.data.file


def load(path: Path) -> Config:
    """Reads a hospital.toml. Raises UsageError, in one line that names the key."""
    content = read_toml(path, "the configuration")
    try:
        config = Config.model_validate(content)
    except ValidationError as fault:
        raise UsageError(f"{path}: {'; '.join(_explained(fault))}") from None
    return _anchored(config, path.resolve().parent)


def address_of(listen: str) -> tuple[str, int]:
    """Host and port of "PORT", "HOST:PORT" or "[IPV6]:PORT"; a port alone is on loopback. Raises ValueError."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not port.isdecimal() or not 0 <= int(port) <= 65_535:
        raise ValueError("is not HOST:PORT or PORT")
    ip_address(host)
    return host, int(port)


def _anchored(config: Config, folder: Path) -> Config:
    """The configuration with every relative path resolved against `folder`."""

    def anchor(section: Section) -> dict[str, Any]:
        return {
            name: folder / value if isinstance(value, Path) else anchored(value)
            for name in type(section).model_fields
            if (value := getattr(section, name)) is not None
        }

    def anchored(value: Any) -> Any:
        return value.model_copy(update=anchor(value)) if isinstance(value, Section) else value

    store = config.blobs.store
    if not store.startswith("ipfs:"):
        store = str(folder / store)
    copy: Config = anchored(config)
    return copy.model_copy(update={"blobs": copy.blobs.model_copy(update={"store": store})})


# What TOML calls what pydantic names by its Python type.
_PLAINER = {
    "tuple_type": "Input should be a list",
    "frozen_set_type": "Input should be a list",
    "path_type": "Input should be a valid string",
    "model_type": "Input should be a table",
    "too_short": "Input should not be empty",
}


def _explained(fault: ValidationError) -> Iterator[str]:
    for error in fault.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in error["loc"])
        if error["type"] == "extra_forbidden":
            near = get_close_matches(str(error["loc"][-1]), _known(error["loc"][:-1]), n=1)
            yield f"unknown key {where}" + (f"; did you mean {near[0]}?" if near else "")
        elif error["type"] == "missing":
            yield f"{where} is missing"
        else:
            yield f"{where}: {_PLAINER.get(error['type']) or error['msg'].removeprefix('Value error, ')}"


def _known(path: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at `path`."""
    section: type[BaseModel] = Config
    for part in path:
        kind = section.model_fields[str(part)].annotation
        assert isinstance(kind, type)
        section = kind
    return list(section.model_fields)
