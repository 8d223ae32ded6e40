"""Says what was pushed. An event's payload is what GitHub sent."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import endpoint  # noqa: E402


def push(event):
    delivery = event["data"]
    return {"repository": delivery["repository"]["full_name"], "commits": len(delivery.get("commits", [])), "event": event["githubevent"]}


endpoint.serve(push)
