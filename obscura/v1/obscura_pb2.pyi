from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WebSocketFrame(_message.Message):
    __slots__ = ("envelope", "ack", "pre_key_status")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    PRE_KEY_STATUS_FIELD_NUMBER: _ClassVar[int]
    envelope: Envelope
    ack: AckMessage
    pre_key_status: PreKeyStatus
    def __init__(self, envelope: _Optional[_Union[Envelope, _Mapping]] = ..., ack: _Optional[_Union[AckMessage, _Mapping]] = ..., pre_key_status: _Optional[_Union[PreKeyStatus, _Mapping]] = ...) -> None: ...

class Envelope(_message.Message):
    __slots__ = ("id", "source_user_id", "timestamp", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_USER_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    source_user_id: str
    timestamp: int
    message: EncryptedMessage
    def __init__(self, id: _Optional[str] = ..., source_user_id: _Optional[str] = ..., timestamp: _Optional[int] = ..., message: _Optional[_Union[EncryptedMessage, _Mapping]] = ...) -> None: ...

class AckMessage(_message.Message):
    __slots__ = ("message_id", "message_ids")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_IDS_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    message_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, message_id: _Optional[str] = ..., message_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class PreKeyStatus(_message.Message):
    __slots__ = ("one_time_pre_key_count", "min_threshold")
    ONE_TIME_PRE_KEY_COUNT_FIELD_NUMBER: _ClassVar[int]
    MIN_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    one_time_pre_key_count: int
    min_threshold: int
    def __init__(self, one_time_pre_key_count: _Optional[int] = ..., min_threshold: _Optional[int] = ...) -> None: ...

class EncryptedMessage(_message.Message):
    __slots__ = ("type", "content")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[EncryptedMessage.Type]
        TYPE_PREKEY_MESSAGE: _ClassVar[EncryptedMessage.Type]
        TYPE_ENCRYPTED_MESSAGE: _ClassVar[EncryptedMessage.Type]
    TYPE_UNSPECIFIED: EncryptedMessage.Type
    TYPE_PREKEY_MESSAGE: EncryptedMessage.Type
    TYPE_ENCRYPTED_MESSAGE: EncryptedMessage.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    type: EncryptedMessage.Type
    content: bytes
    def __init__(self, type: _Optional[_Union[EncryptedMessage.Type, str]] = ..., content: _Optional[bytes] = ...) -> None: ...
