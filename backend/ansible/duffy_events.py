# Tells Duffy what happens in a playbook: one JSON object a line, in the file
# that the environment variable DUFFY_EVENTS names. And kills the playbook when
# nobody has touched the file that DUFFY_ALIVE names for too long.

DOCUMENTATION = """
    name: duffy_events
    type: aggregate
    short_description: tells Duffy what happens
    description:
      - Writes tasks, failures and the fact duffy_out as JSON lines to a file.
"""

import json
import os
import signal
import threading
import time

from ansible.plugins.callback import CallbackBase

SET_FACT = ("set_fact", "ansible.builtin.set_fact", "ansible.legacy.set_fact")


WORDS = 16 * 1024  # characters that are kept of what a node or a module says
SILENCE = 15  # seconds; must be well below the time that a lease has to run


def watch(alive):
    """Kills the playbook, and all that it runs, when Duffy is stopped.

    Others will take over its nodes, and must not have this playbook beside them.
    """
    touched, since = None, time.monotonic()
    while True:
        time.sleep(1)
        now = time.monotonic()
        if now - since > SILENCE:
            os.killpg(0, signal.SIGKILL)
        try:
            latest = os.stat(alive).st_mtime_ns
        except OSError:
            return  # Duffy has ended, and others see to that
        if latest != touched:
            touched, since = latest, now


# Newer versions of Ansible give each worker a session of its own, which would go on
# when Duffy kills the process group of the playbook.
os.setsid = lambda: None


def encode(value):
    """Encodes what json cannot. Vaulted strings stay encrypted."""
    if getattr(value, "yaml_tag", None) == "!vault":
        return {"__ansible_vault": value._ciphertext.decode()}
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "duffy_events"

    def __init__(self):
        super().__init__()
        self.events = open(os.environ["DUFFY_EVENTS"], "a", buffering=1)
        threading.Thread(target=watch, args=[os.environ["DUFFY_ALIVE"]], daemon=True).start()

    def put(self, event, **details):
        self.events.write(json.dumps({"event": event, **details}, default=encode) + "\n")

    def say(self, words):
        """Returns what a node or a module said as text of a bounded length."""
        if words is None:
            return None
        if not isinstance(words, str):
            words = json.dumps(words, default=encode)
        return words if len(words) <= WORDS else words[:WORDS // 2] + " ... " + words[-WORDS // 2:]

    def put_failure(self, result, ignored):
        res = result._result
        for item in res.get("results", []):
            # The first item of a loop that failed tells more than the task does.
            # Not every version of Ansible marks it as failed.
            if isinstance(item, dict) and any(item.get(key) for key in ("failed", "unreachable", "exception")):
                res = item
                break
        if res.get("_ansible_no_log") or "censored" in res:
            res = {"msg": "the output is hidden by no_log"}
        self.put(
            "failed",
            host=result._host.get_name(),
            task=result.task_name,
            ignored=bool(ignored),
            msg=self.say(res.get("msg")),
            stderr=self.say(res.get("module_stderr") or res.get("stderr")),
        )

    def v2_playbook_on_task_start(self, task, is_conditional):
        self.put("task", task=task.get_name())

    def v2_playbook_on_handler_task_start(self, task):
        self.put("task", task=task.get_name())

    def v2_playbook_on_no_hosts_matched(self):
        self.put("no hosts")

    def v2_runner_on_ok(self, result):
        if result._task.action not in SET_FACT:
            return
        items = result._result.get("results", [result._result])
        facts = [item["ansible_facts"] for item in items if "ansible_facts" in item]
        outs = [fact["duffy_out"] for fact in facts if "duffy_out" in fact]
        if items and "censored" in items[-1] and "duffy_out" in result._task.args:
            self.put("hidden", task=result._task.get_name())
        elif outs:
            self.put("duffy_out", duffy_out=outs[-1])

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.put_failure(result, ignore_errors)

    def v2_runner_on_unreachable(self, result):
        self.put_failure(result, result._task.ignore_unreachable)
