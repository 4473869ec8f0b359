#!/usr/bin/env python3
"""Stands in for the project's interpreter: notes the command and answers as it is told.

``STAND_IN_ANSWERS`` is JSON: command of ``kedro ratchet`` -> its answer. ``STAND_IN_FAILS`` names
words of the commands that fail; ``STAND_IN_LOG`` is the file that commands are noted in.
"""

import json
import os
import sys

command = " ".join(sys.argv[3:])  # after -m kedro
with open(os.environ["STAND_IN_LOG"], "a", encoding="utf-8") as log:  # noqa: PTH123
    log.write(f"{os.environ.get('AIRFLOW_CTX_TASK_ID', '-')}: {command}\n")
if any(word in command for word in json.loads(os.environ.get("STAND_IN_FAILS", "[]"))):
    sys.exit("trouble")
if sys.argv[3] == "ratchet":
    print(json.dumps(json.loads(os.environ["STAND_IN_ANSWERS"]).get(sys.argv[4], {})))
