import socket
import threading
import time
from contextvars import copy_context

import pytest
from redis import RedisError

from core import deadlines
from core.errors import UsageError
from llmcf.feature_store import redis_address


def test_an_address_is_the_server_without_credentials():
    assert redis_address.address("cache:6379,password=hush,username=me,ssl=true") == "cache:6379"
    assert redis_address.address("cache:6379,db=3,password=a=b") == "cache:6379/3"


@pytest.mark.parametrize("connection", ["", "cache", "cache:x", "redis://:hush@cache:6379", "cache:6379,pass,hush"])
def test_another_form_is_refused_without_repeating_it(connection):
    with pytest.raises(UsageError, match="LLMCF_REDIS is not") as caught:
        redis_address.address(connection)
    assert not connection or connection not in str(caught.value)


@pytest.mark.parametrize("option", ["foo=1", "host=x"])
def test_an_option_that_is_none_is_named(option):
    with pytest.raises(UsageError, match=f"LLMCF_REDIS: .*{option.partition('=')[0]}") as caught:
        redis_address.require(f"cache:6379,password=hush,{option}")
    assert "hush" not in str(caught.value)


def test_secrets_are_struck_out_of_a_message():
    connection = "cache:6379,password=hush,ssl_password=pssst,db=3"
    assert redis_address.scrub("3: hush, pssst", connection) == "3: ***, ***"
    assert redis_address.scrub("said", None) == "said"


def test_a_client_gives_up_in_time_unless_told_otherwise():
    with redis_address.client("127.0.0.1:1,socket_timeout=9,password=7") as client:
        options = client.connection_pool.connection_kwargs
        assert (options["socket_timeout"], options["socket_connect_timeout"]) == (9, 2.0)
        assert options["password"] == 7


def test_a_request_does_not_wait_for_a_silent_server():
    """One that takes connections and says nothing, as a stopped process does."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with redis_address.reader(f"127.0.0.1:{silent.getsockname()[1]}") as client:
            start = time.monotonic()
            with pytest.raises(RedisError), client.pipeline(transaction=False) as pipe:
                pipe.execute_command("HMGET", b"key", b"field")
                pipe.execute()
        assert time.monotonic() - start < 4 * redis_address.REQUEST_S
    options = {name: client.connection_pool.connection_kwargs[name] for name in ("socket_timeout", "retry")}
    assert options["socket_timeout"] == redis_address.REQUEST_S < redis_address.JOB_S
    assert options["retry"].get_retries() == 0


@pytest.mark.parametrize("greets", [False, True], ids=["at its first word", "later"])
def test_nor_longer_than_its_caller_does(greets: bool):
    """A server that greets, and says nothing more, or not even that."""

    def serve() -> None:
        connection, _ = silent.accept()
        with connection:
            for _ in range(10):
                said = connection.recv(65_536)
                if greets and b"HMGET" not in said:
                    connection.sendall(b"+OK\r\n" * said.count(b"*"))
                if not said or b"HMGET" in said:
                    break
            done.wait(5)

    def ask() -> float:
        deadlines.begin(0.1)
        start = time.monotonic()
        with pytest.raises(RedisError), client.pipeline(transaction=False) as pipe:
            pipe.execute_command("HMGET", b"key", b"field")
            pipe.execute()
        return time.monotonic() - start

    done, patient = threading.Event(), "socket_timeout=8,socket_connect_timeout=8"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with redis_address.reader(f"127.0.0.1:{silent.getsockname()[1]},protocol=2,{patient}") as client:
            if greets:
                client.connection_pool.release(client.connection_pool.get_connection())
            assert copy_context().run(ask) < 3
        done.set()
        thread.join()
