"""How servers are addressed: hosts, passwords, TLS; and what a server that will not do is told at the start."""

import asyncio
import datetime
import ipaddress
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis import Redis

from obscura.errors import StartupError
from obscura.redis_client.endpoints import StaticEndpoint
from tests.support.groups import listening, started
from tests.support.redis7 import ClusterRedis, RedisProcess, SentinelProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.libraries

PASSWORD = "p@ss:w/rd,%1"
QUOTED = "p%40ss%3Aw%2Frd%2C%251"
REDIS_CONF = Path(__file__).parents[2] / "config/redis.conf"
RIGHTS = " ".join(
    re.findall(r"^#   (?:user relay on >PASSWORD|in a Cluster) (.*)$", REDIS_CONF.read_text(), re.MULTILINE)
)


@pytest.mark.parametrize("query", ["nonsense=1", "db=x", "ssl_check_hostname=1"])
def test_a_query_that_is_not_understood_is_refused(query: str) -> None:
    """In one sentence, without the password."""
    with pytest.raises(StartupError, match="OBSCURA_REDIS_URL is not understood") as refusal:
        StaticEndpoint(f"redis://:hush@h/?{query}", "obscura:test")
    assert "hush" not in str(refusal.value)


async def works(url: str) -> None:
    async with listening(url, "obscura:test") as recorder:
        assert await recorder.commands.call("SET", "obscura:key", "x") == b"OK"
        assert await recorder.database.scripts.run("leases_take", ["obscura:lease"], ["token", 1]) == 1
        assert await recorder.hears("obscura:test")
        assert await recorder.is_well()


async def refuses(url: str, reason: str) -> None:
    with pytest.raises(StartupError, match=reason) as refusal:
        async with listening(url):
            pass
    assert PASSWORD not in str(refusal.value)


async def test_users_and_passwords(tmp_path: Path) -> None:
    """The default user with a password, a user with few rights; the Sentinels have a password of their own."""
    users = tmp_path / "users.acl"
    users.write_text(f"user default on >{PASSWORD} ~* &* +@all\nuser relay on >{PASSWORD} {RIGHTS}\n")
    options = ("--aclfile", str(users), "--masterauth", PASSWORD)
    async with _WithPassword(*options) as server, _guarded_sentinel(server) as sentinel:
        for login in (f":{QUOTED}", f"relay:{QUOTED}"):
            await works(f"redis://{login}@127.0.0.1:{server.port}")
            await works(f"redis+sentinel://{login}@127.0.0.1:{sentinel.port}/relay?sentinel_password=hush%25")
        await refuses(f"redis://:wrong@127.0.0.1:{server.port}", "cannot connect|not available")
        await refuses(
            f"redis+sentinel://:{QUOTED}@127.0.0.1:{sentinel.port}/relay?sentinel_password=x", "names a master"
        )


class _WithPassword(RedisProcess):
    def client(self, **options: object) -> "Redis":
        return super().client(password=PASSWORD, **options)


class _Guarded(SentinelProcess):
    def client(self, **options: object) -> "Redis":
        return super().client(password="hush%", **options)


@asynccontextmanager
async def _guarded_sentinel(master: RedisProcess) -> AsyncIterator[SentinelProcess]:
    sentinel = _Guarded(master, 1, 60_000)
    sentinel._configuration += f'requirepass hush%\nsentinel auth-pass relay "{PASSWORD}"\n'
    async with sentinel:
        yield sentinel


class Authority:
    """A certificate authority for the length of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test CA")])
        ca = self._certificate(self._name, self._key).add_extension(x509.BasicConstraints(True, None), critical=True)
        ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        self._write("ca", ca.add_extension(usage, critical=True), self._key)
        key = ec.generate_private_key(ec.SECP256R1())
        server = self._certificate(x509.Name([]), key)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        self._write("server", server.add_extension(address, True).add_extension(authority, False), key)

    @property
    def query(self) -> str:
        return f"ssl_ca_certs={self.folder}/ca.crt"

    @property
    def options(self) -> tuple[str, ...]:
        files = {"cert-file": "server.crt", "key-file": "server.key", "ca-cert-file": "ca.crt"}
        pairs = [(f"--tls-{option}", str(self.folder / file)) for option, file in files.items()]
        return (*(word for pair in pairs for word in pair), "--tls-auth-clients", "no", "--tls-replication", "yes")

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))

    def _write(self, name: str, builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> None:
        pem = serialization.Encoding.PEM
        certificate = builder.sign(self._key, hashes.SHA256())
        (self.folder / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
        plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.folder / f"{name}.key").write_bytes(key.private_bytes(pem, *plain))


class _Tls:
    """A server that speaks TLS alone."""

    authority: Authority
    port: int

    def _arguments(self) -> list[str]:
        words: list[str] = super()._arguments()  # type: ignore[misc]
        words[words.index("--port")] = "--tls-port"
        return [*words, "--port", "0", *self.authority.options]

    def client(self, **options: object) -> "Redis":
        authority = f"{self.authority.folder}/ca.crt"
        return Redis("127.0.0.1", self.port, ssl=True, ssl_ca_certs=authority, decode_responses=True)


class _TlsRedis(_Tls, RedisProcess):
    def __init__(self, authority: Authority, *options: str) -> None:
        super().__init__(*options)
        self.authority = authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "stranger")


async def test_tls(authority: Authority, stranger: Authority) -> None:
    """To one server: its certificate must be of an authority that is trusted."""
    async with _TlsRedis(authority) as server:
        await works(f"rediss://127.0.0.1:{server.port}/?{authority.query}")
        await refuses(f"rediss://127.0.0.1:{server.port}/?{stranger.query}", "certificate verify failed")
        await refuses(f"rediss://127.0.0.1:{server.port}/", "certificate verify failed")


async def test_tls_of_a_cluster(authority: Authority, stranger: Authority) -> None:
    """To every master."""
    options = ("--cluster-enabled", "yes", "--tls-cluster", "yes")
    async with _TlsRedis(authority, *options) as server:
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16_383)
            await eventually(lambda: client.cluster("INFO")["cluster_state"] == "ok")
        await works(f"rediss+cluster://127.0.0.1:{server.port}/?{authority.query}")
        await refuses(f"rediss+cluster://127.0.0.1:{server.port}/?{stranger.query}", "certificate verify failed")


async def test_tls_with_sentinel(authority: Authority, stranger: Authority) -> None:
    """To the Sentinels and to the master."""
    async with AsyncExitStack() as running:
        server = await running.enter_async_context(_TlsRedis(authority))
        sentinel = _TlsSentinel(server, 1, 60_000)
        sentinel.authority = authority
        await running.enter_async_context(sentinel)
        await works(f"rediss+sentinel://127.0.0.1:{sentinel.port}/relay?{authority.query}")
        await refuses(f"rediss+sentinel://127.0.0.1:{sentinel.port}/relay?{stranger.query}", "names a master")


class _TlsSentinel(_Tls, SentinelProcess):
    def _arguments(self) -> list[str]:
        files = "\n".join(
            f"{self.authority.options[at].removeprefix('--')} {self.authority.options[at + 1]}"
            for at in range(0, len(self.authority.options), 2)
        )
        self._configuration = self._configuration.replace("port ", "port 0\ntls-port ", 1) + files + "\n"
        return SentinelProcess._arguments(self)


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[ClusterRedis]:
    with started(ClusterRedis()) as cluster:
        yield cluster


async def test_a_member_of_a_cluster_is_not_taken_for_one_server(redis_cluster: ClusterRedis) -> None:
    """Most keys would be refused."""
    await refuses(redis_cluster.masters[0].url, "part of a Cluster: its address begins with redis")


async def test_one_server_is_not_taken_for_a_cluster() -> None:
    """It says that it is none."""
    async with RedisProcess() as server:
        await refuses(server.url.replace("redis:", "redis+cluster:"), "cluster support disabled")


async def test_a_replica_is_refused_and_missing_replicas_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A replica takes no writes; a master without the replicas to wait for refuses them."""
    async with RedisProcess() as master, RedisProcess("--replicaof", f"127.0.0.1 {master.port}") as replica:
        await refuses(replica.url, "is a replica")
        async with listening(master.url, replicas=2):
            pass
    assert "fewer replicas than OBSCURA_REDIS_WAIT_REPLICAS" in caplog.text
    assert asyncio.all_tasks() == {asyncio.current_task()}
