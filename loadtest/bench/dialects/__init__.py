"""The servers that can be measured, this relay first."""

from loadtest.bench.dialects.amqtt import AmqttDialect
from loadtest.bench.dialects.base import Dialect
from loadtest.bench.dialects.mqtt import MosquittoDialect
from loadtest.bench.dialects.nats import NatsDialect
from loadtest.bench.dialects.redis import RedisDialect
from loadtest.bench.dialects.relay import RelayDialect
from loadtest.bench.dialects.socketio import SocketioDialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        RelayDialect(),
        NatsDialect(),
        RedisDialect(),
        MosquittoDialect(),
        AmqttDialect(),
        SocketioDialect(),
    )
}
