# Posts two events to one account, one after the other, by the package that is named, and
# prints what came of the second: python3 send.py FORM URL. An advised form has the lines
# that docs/senders.md advises.
import json, sys

form, url = sys.argv[1:]
again = [408, 425, 429, 500, 502, 503, 504]

def urllib3_form(**kwargs):
    import urllib3
    pool = urllib3.PoolManager(**kwargs)
    return lambda body: pool.request("POST", url, body=body, headers={"Content-Type": "application/json"}).status

def requests_form(retries):
    import requests
    session = requests.Session()
    if retries is not None:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
    return lambda body: session.post(url, data=body, headers={"Content-Type": "application/json"}).status_code

def advised():
    from urllib3.util import Retry
    return Retry(total=8, backoff_factor=0.2, allowed_methods=["POST"], status_forcelist=again, raise_on_status=False)

forms = {
    "urllib3": lambda: urllib3_form(),
    "urllib3 advised": lambda: urllib3_form(retries=advised()),
    "requests": lambda: requests_form(None),
    "requests advised": lambda: requests_form(advised()),
}
post = forms[form]()

def send(id):
    try:
        return post(json.dumps({"client_id": "a", "message_id": id, "type": "work", "payload": {}}))
    except Exception:
        return "error"

send("1")
print(send("2"))
