"""Does what cases_test.go asks: driver.py MODE, with the rest as JSON on standard input."""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
import inturn  # noqa: E402


def main(mode, ask):
    if mode == "verify":
        try:
            event = inturn.verify(ask["secrets"], ask["headers"], ask["body"].encode())
            return say({"event": event})
        except inturn.SignatureError as wrong:
            return say({"error": "signature", "text": str(wrong)})
    if mode == "emit":
        headers, body = inturn.emit(*ask["events"])
        return say({"headers": headers, "body": body.decode()})
    client = inturn.Client(ask["url"], token=ask.get("token"), ca=ask.get("ca"), patience=ask.get("patience", 60))
    if mode == "rate":
        events = ({"client_id": f"{ask['prefix']}{i % 1000}", "message_id": str(i), "type": "work", "payload": {"ms": 0, "n": i}} for i in range(ask["count"]))
        begin, answers = time.monotonic(), 0
        for _, answer in client.stream(events):
            answers += not isinstance(answer, inturn.Problem)
        return say({"seq": answers, "text": str(time.monotonic() - begin)})
    events = ask["events"]
    try:
        if mode == "post":
            for event in events:
                try:
                    answered(event, client.post(event["client_id"], event["payload"], type=event.get("type"), message_id=event.get("message_id"), wait=ask.get("wait", 0)))
                except inturn.Problem as problem:
                    if problem.status in (401, 403):
                        raise
                    answered(event, problem)
        elif mode == "batch":
            for event, answer in zip(events, client.batch(events)):
                answered(event, answer)
        elif mode == "stream":
            for event, answer in client.stream(events, on_error=ask.get("on_error", "stop")):
                answered(event, answer)
    except inturn.Problem as problem:
        say({"error": "problem", "status": problem.status, "text": str(problem)})
    except inturn.Unreachable as gone:
        say({"error": "unreachable", "text": str(gone)})
    except OSError as failed:  # of the certificate
        say({"error": "certificate", "text": str(failed)})


def answered(event, answer):
    if isinstance(answer, inturn.Problem):
        return say({"client_id": event["client_id"], "message_id": event.get("message_id"), "status": answer.status, "name": answer.name})
    say({name: answer.get(name) for name in ("client_id", "message_id", "seq", "state", "duplicate", "result", "error") if name in answer})


def say(what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


main(sys.argv[1], json.load(sys.stdin))
