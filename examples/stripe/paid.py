"""Takes payments, and emits the mail that follows each: accepted if and only if the payment's event is done."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import endpoint  # noqa: E402


def paid(event):
    if event["type"] == "mail":
        return {"sent": event["data"]["to"]}
    session = event["data"]["data"]["object"]
    mail = {"to": session["customer_email"], "text": f"Thank you for {session['amount_total'] / 100:.2f} {session['currency']}."}
    return endpoint.inturn.emit({"message_id": "mail-" + event["data"]["id"], "type": "mail", "payload": mail})


endpoint.serve(paid)
