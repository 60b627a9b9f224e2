/** What the wire numbers: codes of errors (section 14 of docs/protocol.md), of closes (section 15), and limits (16). */

export const ErrorCode = Object.freeze({
  MALFORMED: 100,
  UNKNOWN_PACKET: 101,
  FORGED_SENDER: 102,
  BAD_ADDRESS: 103,
  TOO_LARGE: 104,
  BAD_ARGUMENTS: 105,
  ID_REUSED: 106,
  FLOW_CONTROL: 107,
  BAD_STREAM: 108,
  NO_SUCH_USER: 200,
  NO_SUCH_SESSION: 201,
  NO_SUCH_ROOM: 202,
  NO_SUCH_METHOD: 203,
  NOT_ALLOWED: 204,
  BLOCKED: 205,
  METHOD_FAILED: 206,
  NO_SUCH_CONVERSATION: 207,
  QUOTA_EXCEEDED: 208,
  NO_SUCH_SERVICE: 209,
  NO_SUCH_STREAM: 210,
  CANCELLED: 211,
  WRONG_HASH: 212,
  BAD_CHUNK: 213,
  NO_SUCH_FILE: 214,
  BAD_FILE_NAME: 215,
  UPLOAD_CONTINUED: 216,
  RATE_LIMITED: 300,
  QUEUE_FULL: 301,
  TIMED_OUT: 302,
  SESSION_GONE: 303,
  STORE_FAILED: 304,
  SHUTTING_DOWN: 305,
});

export const CloseCode = Object.freeze({
  NORMAL: 4000,
  TICKET_REFUSED: 4001,
  SHUTTING_DOWN: 4100,
  TOO_MANY_CONNECTIONS: 4101,
  SLOW_READER: 4102,
  KEEPALIVE_TIMEOUT: 4103,
  HANDSHAKE_TIMEOUT: 4104,
  TOO_MANY_ATTEMPTS: 4105,
  INTERNAL_ERROR: 4106,
  STORE_FAILED: 4107,
  LOGIN_FAILED: 4200,
  ACCOUNT_ENDED: 4201,
  REPLACED: 4202,
  TOO_MANY_SESSIONS: 4203,
  NOT_THE_PROTOCOL: 4300,
  UNSUPPORTED_VERSION: 4301,
  BAD_FRAME: 4302,
  BAD_PACKET: 4303,
  NOT_ALLOWED_NOW: 4304,
  UNSUPPORTED_MECHANISM: 4305,
});

/** The name of a code, or "" for one that this version does not know. @param {number} code */
export function codeName(code) {
  const known = [...Object.entries(ErrorCode), ...Object.entries(CloseCode)];
  return known.find(([, number]) => number === code)?.[0] ?? "";
}

export const VERSION = 1;
export const FRAME_MAX_BEFORE_LOGIN = 4096;
export const FRAME_MAX = 1048576;
export const FIELDS_MAX = 15;
export const BODY_MAX = 1047552;
export const BODY_DEPTH_MAX = 64;
export const NAME_MAX_BYTES = 64;
export const SENTENCE_MAX_BYTES = 256;
export const CALL_TIMEOUT_MAX_MS = 600000;
export const OPEN_TIMEOUT_MAX_MS = 60000;
export const CHUNK_MAX_BYTES = 65536;
export const CREDIT_MAX_BYTES = 65536;
/** Unanswered messages of a device, counted from the oldest one on. */
export const MESSAGE_WINDOW = 256;
