"""Sends events to inturn, and serves the calls that inturn makes.

    from inturn import Client

    client = Client("https://localhost:8443", token="…", ca="data/tls/ca.pem")
    receipt = client.post("alice", {"sku": "tea"}, type="order", message_id="1")

One file, the standard library only, Python 3.9 or later.

What is sent is sent until it is answered: after a broken connection, an answer that broke
off, and every answer that says to come back later (408, 429, 5xx), for at most `patience`
seconds in which nothing is answered. An event keeps its message_id through all of that, so
nothing runs twice, and nothing of an account overtakes what was sent before it.
"""

import base64
import collections
import hashlib
import hmac
import http.client
import json
import os
import random
import select
import socket
import ssl
import struct
import threading
import time
import urllib.parse
import uuid

__all__ = ["Client", "Problem", "Unreachable", "SignatureError", "verify", "emit"]

FIRST_WAIT, LONGEST_WAIT, MAX_RETRY_AFTER = 0.2, 5.0, 10.0  # seconds between two tries
HOLD = 30  # seconds for which the server is asked to hold an answer for its result
TIMEOUT = 90.0  # seconds of silence after which a connection is given up
BATCH_EVENTS, BATCH_BYTES = 500, 1 << 20  # of one request
WINDOW_EVENTS, WINDOW_BYTES = 4096, 16 << 20  # of a stream: sent and not answered
URN = "urn:inturn:problem:"


class Problem(Exception):
    """An event, or a request, that is refused for good.

    status, name (such as invalid-event), title, detail; errors is a list of
    {"pointer", "detail"}; answer is all that the server said.
    """

    def __init__(self, answer):
        self.answer = answer
        self.status = answer.get("status", 0)
        self.name = str(answer.get("type", "")).removeprefix(URN)
        self.title, self.detail = answer.get("title", ""), answer.get("detail", "")
        self.errors = answer.get("errors", [])
        super().__init__(": ".join(str(part) for part in (self.status, self.title, self.detail) if part))


class Unreachable(Exception):
    """Nothing was answered for `patience` seconds. What was sent may have been taken."""


class SignatureError(Exception):
    """A call that is not inturn's, or not a recent one. It is to be answered 401."""


class Client:
    """Sends events to one server.

    ca is the file of certificates to trust in place of the system's, such as the ca.pem
    that `inturn serve` writes; it is read again with each connection. patience is how many
    seconds may pass without an answer before Unreachable is raised. A client may be used
    by several threads; what they post for one account is accepted in any order.
    """

    def __init__(self, url, token=None, ca=None, patience=300.0):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not the address of a server, such as https://localhost:8443")
        self._https, self._host = parts.scheme == "https", parts.hostname
        self._port = parts.port or (443 if self._https else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._token, self._ca, self._patience = token, ca, patience
        self._kept = threading.local()

    def post(self, client_id, payload, *, type=None, message_id=None, wait=0.0):
        """Sends one event until it is accepted, and returns its receipt, a dict.

        With wait it asks so many seconds for the result: the receipt's state is then
        "done" with a "result", "dead" with an "error", or still "pending". Raises Problem,
        Unreachable, or ssl.SSLCertVerificationError.
        """
        body = _body({"client_id": client_id, "message_id": message_id, "type": type, "payload": payload})[1]
        end = time.monotonic() + wait
        while True:
            left = end - time.monotonic()
            headers = {"Prefer": f"wait={min(HOLD, int(left) + 1)}"} if left > 0 else {}
            receipt = self._send(body, headers)
            if left <= 0 or receipt["state"] in ("done", "dead"):
                return receipt

    def batch(self, events):
        """Sends events, each a dict as post's arguments, and returns an answer for each.

        An answer is a receipt, or a Problem (it is not raised). The events of an account are
        accepted in their order; after one that is refused the later ones of its account are
        answered 424 and not accepted.
        """
        answers, refused, chunk, size = [], set(), [], 0
        for event in events:
            item = _body(event)
            if chunk and (len(chunk) == BATCH_EVENTS or size + len(item[1]) > BATCH_BYTES):
                answers += self._batch(chunk, refused)
                chunk, size = [], 0
            chunk.append(item)
            size += len(item[1])
        return answers + self._batch(chunk, refused)

    def _batch(self, chunk, refused):
        answers = [None] * len(chunk)
        for i, (client_id, _, _) in enumerate(chunk):
            if client_id in refused:
                answers[i] = _not_attempted()
        retry = _Retry(self._patience)
        while open_ := [i for i, answer in enumerate(answers) if answer is None]:
            results = self._send(b"[" + b",".join(chunk[i][1] for i in open_) + b"]", {})["results"]
            if len(results) != len(open_):
                raise Unreachable(f"the answer has {len(results)} results for {len(open_)} events")
            later, reason = set(), None
            for i, answer in zip(open_, results):
                client_id = chunk[i][0]
                if _temporary(answer) or answer["status"] == 424 and client_id in later:
                    later.add(client_id)
                    reason = reason or answer
                    continue
                answers[i] = _final(answer)
                retry.progress()
                if isinstance(answers[i], Problem):
                    refused.add(client_id)
            if reason:
                retry.wait(Problem(reason), reason.get("retry_after"))
        return answers

    def stream(self, events, *, on_error="stop"):
        """Sends events, each a dict as post's arguments, and yields (event, answer) for each.

        Many are sent before the first is answered, over a WebSocket, and again over another
        where that breaks. An answer is a receipt or a Problem; they come in the order of
        the events, but for those that are not sent after a refused one of their account
        (424), which may come earlier. on_error="continue" sends those all the same. While
        `events` waits for its next one no answer is read.
        """
        sender = _Stream(self, iter(events), on_error)
        retry = _Retry(self._patience)
        while True:
            try:
                for pair in sender.connect():
                    retry.progress()
                    yield pair
                return
            except ssl.SSLCertVerificationError:
                raise
            except Problem as problem:
                if not _temporary(problem.answer):
                    raise
                retry.wait(problem, problem.answer.get("retry_after"))
            except (OSError, http.client.HTTPException, _Closed) as broken:
                retry.wait(broken)

    def _send(self, body, headers):
        headers = {"Content-Type": "application/json", **self._authorization(), **headers}
        retry = _Retry(self._patience)
        while True:
            try:
                status, given, text = self._request(body, headers)
            except ssl.SSLCertVerificationError:
                raise
            except (OSError, http.client.HTTPException) as broken:
                self._drop()
                retry.wait(broken)
                continue
            try:
                answer = json.loads(text)
            except ValueError:
                answer = None
            if status in (200, 202) and isinstance(answer, dict):
                return answer
            problem = Problem({"title": "the answer can't be read", **(answer if isinstance(answer, dict) else {}), "status": status})
            if status not in (200, 202) and not _temporary(problem.answer):
                raise problem
            retry.wait(problem, given)

    def _request(self, body, headers):
        conn = getattr(self._kept, "conn", None)
        if conn is None:
            if self._https:
                conn = http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT, context=self._context())
            else:
                conn = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
            conn.connect()
            conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._kept.conn = conn
        conn.request("POST", "/v1/events", body, headers)
        answer = conn.getresponse()
        return answer.status, answer.headers.get("Retry-After"), answer.read()

    def _drop(self):
        conn, self._kept.conn = getattr(self._kept, "conn", None), None
        if conn is not None:
            conn.close()

    def close(self):
        """Closes the connection that this thread keeps for its next request."""
        self._drop()

    def _authorization(self):
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _context(self):
        return ssl.create_default_context(cafile=self._ca)


class _Retry:
    """Waits between two tries, and raises Unreachable when that has lasted too long."""

    def __init__(self, patience):
        self._patience = patience
        self.progress()

    def progress(self):
        self._since, self._wait = time.monotonic(), FIRST_WAIT

    def wait(self, reason, retry_after=None):
        if time.monotonic() - self._since > self._patience:
            raise Unreachable(f"nothing was answered for {self._patience} s: {reason}") from reason
        try:
            after = min(max(float(retry_after), FIRST_WAIT), MAX_RETRY_AFTER)
        except (TypeError, ValueError):
            after = self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        time.sleep(after)


class _Closed(Exception):
    """The connection of a stream has ended."""


class _Stream:
    """A stream over as many connections as it takes."""

    def __init__(self, client, events, on_error):
        self._client, self._events, self._on_error = client, events, on_error
        self._waiting = collections.deque()  # (event, client_id, message_id, body), sent or to be sent again
        self._bytes, self._ended, self._refused = 0, False, set()

    def connect(self):
        """Uses one connection, and yields (event, answer), until all is answered or it breaks."""
        socket_ = _WebSocket(self._client, "/v1/stream" + ("?on_error=continue" if self._on_error == "continue" else ""))
        try:
            yield from self._resend(socket_)
            n = 0
            while True:
                yield from self._fill(socket_)
                if self._ended and not self._waiting:
                    return
                for text in socket_.exchange():
                    answers = json.loads(text)
                    for answer in answers if isinstance(answers, list) else (answers,):
                        n += 1
                        yield self._take(answer, n)
        finally:
            socket_.close()

    def _resend(self, socket_):
        # What waits behind a refused event of its account is answered here: the server
        # doesn't know of that on a new connection.
        waiting, self._waiting, self._bytes = self._waiting, collections.deque(), 0
        for item in waiting:
            if item[1] in self._refused:
                yield item[0], _not_attempted()
                continue
            self._waiting.append(item)
            self._bytes += len(item[3])
            socket_.send(item[3])

    def _fill(self, socket_):
        """Takes events while there is room for them."""
        while not self._ended and socket_.room() and len(self._waiting) < WINDOW_EVENTS and self._bytes < WINDOW_BYTES:
            event = next(self._events, None)
            if event is None:
                self._ended = True
                return
            client_id, body, message_id = _body(event)
            if client_id in self._refused:
                yield event, _not_attempted()
                continue
            self._waiting.append((event, client_id, message_id, body))
            self._bytes += len(body)
            socket_.send(body)

    def _take(self, answer, n):
        if not self._waiting or answer.get("n") != n or answer.get("message_id", self._waiting[0][2]) != self._waiting[0][2]:
            raise Problem({"title": f"answer {n} is not for the event that was sent", "status": 0})
        if _temporary(answer) or answer["status"] == 401:
            raise Problem(answer)  # not taken, nor is what follows it
        event, client_id, _, body = self._waiting.popleft()
        self._bytes -= len(body)
        final = _final(answer)
        if isinstance(final, Problem) and self._on_error != "continue":
            self._refused.add(client_id)
        return event, final


class _WebSocket:
    """The client's side of RFC 6455, of one thread: exchange both sends and receives."""

    HIGH = 256 << 10  # bytes that wait to be sent before no more are made

    def __init__(self, client, path):
        raw = socket.create_connection((client._host, client._port), timeout=TIMEOUT)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock = client._context().wrap_socket(raw, server_hostname=client._host) if client._https else raw
            self._in, self._out, self._parts, self._end = bytearray(), bytearray(), [], None
            self._handshake(client, path)
            self._sock.setblocking(False)
        except BaseException:
            raw.close()
            raise
        self._heard = time.monotonic()

    def _handshake(self, client, path):
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: {client._authority}", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
        lines += [f"{name}: {value}" for name, value in client._authorization().items()]
        self._sock.sendall("\r\n".join(lines + ["", ""]).encode())
        while b"\r\n\r\n" not in self._in:
            self._receive()
        head, _, rest = bytes(self._in).partition(b"\r\n\r\n")
        self._in = bytearray(rest)
        status_line, *fields = head.decode("latin-1").split("\r\n")
        status = int(status_line.split()[1])
        given = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        if status != 101:
            length = min(int(given.get("content-length", 0)), 64 << 10)
            while len(self._in) < length:
                self._receive()
            try:
                answer = json.loads(self._in[:length])
            except ValueError:
                answer = {}
            raise Problem({**answer, "status": status, "retry_after": given.get("retry-after")})
        want = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        if given.get("sec-websocket-accept") != want:
            raise _Closed("the server does not speak WebSocket")

    def _receive(self):
        data = self._sock.recv(64 << 10)
        if not data:
            raise _Closed("the server closed the connection")
        self._in += data
        return data

    def room(self):
        return len(self._out) < self.HIGH

    def send(self, payload, opcode=1):
        length = len(payload)
        if length < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
        elif length < 65536:
            head = struct.pack("!BBH", 0x80 | opcode, 0xFE, length)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0xFF, length)
        mask = random.getrandbits(32).to_bytes(4, "big")
        pad = (mask * (length // 4 + 1))[:length]
        self._out += head + mask + (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(length, "big")

    def exchange(self):
        """Sends and receives what can be without waiting, or waits until something can be.

        Returns the messages that have come, and raises why the connection ended after the last.
        """
        if self._end:
            raise self._end
        progress = self._flush()
        try:
            while len(self._in) < 1 << 20:
                self._receive()
                self._heard, progress = time.monotonic(), True
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except (_Closed, OSError) as end:
            self._end = end
        if not progress and not self._end:
            writing = [self._sock] if self._out else []
            if not any(select.select([self._sock], writing, [], TIMEOUT)) and time.monotonic() - self._heard >= TIMEOUT:
                self._end = _Closed(f"nothing came for {TIMEOUT} s")
        messages = self._frames()
        if self._end and not messages:
            raise self._end
        return messages

    def _flush(self):
        progress = False
        while self._out:
            try:
                sent = self._sock.send(memoryview(self._out)[: 64 << 10])
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                break
            except OSError as end:  # what the server said last is read all the same
                self._end, self._out = end, bytearray()
                break
            del self._out[:sent]
            progress = True
        return progress

    def _frames(self):
        """Returns the messages that have come whole; pings are answered."""
        messages, data, at = [], self._in, 0
        while len(data) - at >= 2:
            first, length, begin = data[at], data[at + 1] & 0x7F, at + 2
            if length >= 126:
                size = 2 if length == 126 else 8
                if len(data) < begin + size:
                    break
                length = int.from_bytes(data[begin : begin + size], "big")
                begin += size
            if len(data) < begin + length:
                break
            payload, at = bytes(data[begin : begin + length]), begin + length
            opcode = first & 0xF
            if opcode == 8:
                self._end = self._closed(int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace"))
                break
            if opcode == 9:
                self.send(payload, 10)
            elif opcode in (0, 1, 2):
                self._parts.append(payload)
                if first & 0x80:
                    messages.append(b"".join(self._parts))
                    self._parts = []
        del data[:at]
        return messages

    def _closed(self, code, reason):
        if code in (1003, 1007, 1008, 1009):  # the same again would end the same way
            return Problem({"status": 401 if code == 1008 else 400, "title": f"the stream was closed with {code}", "detail": reason})
        return _Closed(f"the stream was closed with {code} {reason}")

    def close(self):
        try:
            self._sock.settimeout(1.0)
            self.send(struct.pack("!H", 1000), 8)
            self._sock.sendall(self._out)
        except (OSError, ValueError):
            pass
        self._sock.close()


def _body(event):
    """Returns (client_id, the event as it is sent, message_id), the same bytes for each try."""
    message_id = event.get("message_id") or uuid.uuid4().hex
    whole = {"client_id": event["client_id"], "message_id": message_id, "payload": event["payload"]}
    if event.get("type") is not None:
        whole["type"] = event["type"]
    return event["client_id"], _ENCODE(whole).encode(), message_id


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def _temporary(answer):
    return answer.get("status", 0) in (408, 429) or answer.get("status", 0) >= 500


def _final(answer):
    return Problem(answer) if str(answer.get("type", "")).startswith(URN) else answer


def _not_attempted():
    return Problem({"type": URN + "not-attempted", "status": 424, "title": "An earlier event was refused", "detail": "an earlier event of this account was refused, and this one was not sent"})


def verify(secrets, headers, body, now=None):
    """Verifies a call that inturn makes of a webhook function, and returns its event.

    secrets is one or more (a list) of whsec_…, headers a mapping, body the bytes that came.
    The event is a CloudEvent as a dict: "id" is the message_id, "partitionkey" the
    client_id, "data" the payload. Raises SignatureError, or ValueError where body is no JSON.
    """
    given = {str(name).lower(): value for name, value in headers.items()}
    id_, at = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not id_ or not (at.isascii() and at.isdecimal()) or abs((time.time() if now is None else now) - int(at)) > 300:
        raise SignatureError("the signature is missing, or too old")
    signatures = given.get("webhook-signature", "").encode().split()
    good = False
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        want = b"v1," + base64.b64encode(hmac.digest(key, f"{id_}.{at}.".encode() + body, "sha256"))
        for signature in signatures:
            good |= hmac.compare_digest(want, signature)
    if not good:
        raise SignatureError("the signature is wrong")
    return json.loads(body)


def emit(*events):
    """Returns (headers, body) of an answer to a call that emits events.

    Each is a dict as post's arguments, with type and message_id; without client_id it is of
    the call's account. They are appended in the transaction that settles the call's event.
    """
    batch = []
    for event in events:
        one = {"specversion": "1.0", "id": event["message_id"], "source": "emitted", "type": event["type"], "data": event["payload"]}
        if event.get("client_id"):
            one["partitionkey"] = event["client_id"]
        batch.append(one)
    return {"Content-Type": "application/cloudevents-batch+json"}, _ENCODE(batch).encode()
