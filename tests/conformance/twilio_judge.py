"""Twilio's own library as a judge: reads one JSON request a line, answers each with one line.

{"token", "algorithm", "url", "form": [[name, value], ...], "signature"}  ->  {"computed", "valid"}
"""

import json
import sys

from twilio.request_validator import RequestValidator


class Form(dict):
    """What a web framework hands to the library: a name may have several values."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.pairs = pairs

    def getall(self, name):
        return [value for key, value in self.pairs if key == name]


for line in sys.stdin:
    asked = json.loads(line)
    judge, form = RequestValidator(asked["token"]), Form(asked["form"])
    computed = judge.compute_signature(asked["url"], form, asked["algorithm"])
    signature = computed if asked["signature"] is None else asked["signature"]
    valid = judge.validate(asked["url"], form, signature, asked["algorithm"])
    print(json.dumps({"computed": computed, "valid": valid}))
