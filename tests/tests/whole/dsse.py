"""Verifies DSSE envelopes with securesystemslib: each as it is, and none of them with a payload that was changed."""

import copy
import json
import sys

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

with open(sys.argv[1], encoding="utf-8") as file:
    cases = json.load(file)
for case in cases:
    keys = [SSlibKey(key["keyid"], "ed25519", "ed25519", {"public": key["public"]}) for key in case["keys"]]
    envelope = Envelope.from_dict(copy.deepcopy(case["envelope"]))
    accepted = envelope.verify(keys, case["threshold"])
    if len(accepted) != case["threshold"]:
        sys.exit(f"{case['what']}: {len(accepted)} good signatures")
    envelope.payload += b" "
    try:
        envelope.verify(keys, 1)
    except VerificationError:
        continue
    sys.exit(f"{case['what']}: a changed payload was accepted")
print("verified", len(cases))
