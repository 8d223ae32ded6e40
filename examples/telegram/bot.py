"""A bot that answers each message of a chat, in order, however often Telegram sends it or this bot is away."""
import json
import os
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import endpoint  # noqa: E402

API = os.environ.get("TELEGRAM_API", "https://api.telegram.org") + "/bot" + os.environ["TELEGRAM_TOKEN"]


def answer(event):
    message = event["data"].get("message")
    if not message or "text" not in message:
        return {"ignored": True}
    body = json.dumps({"chat_id": message["chat"]["id"], "text": "You said: " + message["text"]}).encode()
    call = urllib.request.Request(API + "/sendMessage", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(call, timeout=10) as sent:  # an error is a 500 here, and inturn tries again
        return {"sent": json.load(sent)["result"]["text"]}


endpoint.serve(answer)
