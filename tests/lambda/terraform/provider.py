"""Terraform's part of it: a configuration is applied, read again, planned again, imported and destroyed, step by step.

What is strict is what makes `terraform plan` show a difference: after each step the state that was read must have every
value that was configured, a second read must give the same state, and an import by name must give it once more.
"""

import sys
import time
from pathlib import Path

from botocore.exceptions import ClientError

sys.path.append(str(Path(__file__).resolve().parent.parent / "conformance"))

from kit import Kit

# Stands where AWS fills in what the configuration leaves open.
COMPUTED = object()
# The state of what is not there, for waiters.
GONE = "(gone)"
NOT_FOUND = ("ResourceNotFoundException",)
# How often a waiter looks, and how many times.
LOOK_S, LOOKS = 0.1, 600


class Kind:
    """A kind of resource: see kinds.py."""

    kept = ()
    forces_new = ()


class Wrong(Exception):
    """An answer on which the provider gives up."""


def code_of(error):
    return error.response["Error"]["Code"]


class Terraform(Kit):
    def __init__(self, endpoint, account, verbose):
        super().__init__(endpoint, account, verbose)
        self.scenario, self.step, self.made, self.refused = "", 0, [], []

    # Calls, as the provider's helpers make them.

    def ask(self, operation, **asked):
        return getattr(self.client, operation)(**asked)

    def find(self, operation, codes=NOT_FOUND, **asked):
        """What is asked for; None where the provider would take it from the state."""
        try:
            return self.ask(operation, **asked)
        except ClientError as error:
            if code_of(error) in codes:
                return None
            raise

    def ask_or_gone(self, operation, codes=NOT_FOUND, **asked):
        """Asks; False where there was nothing to do it to."""
        return self.find(operation, codes, **asked) is not None

    def again(self, codes, operation, **asked):
        """Asks, again for as long as it is refused for one of these."""
        for look in range(LOOKS):
            try:
                return self.ask(operation, **asked)
            except ClientError as error:
                # The provider would try for minutes what will never be; ten times are enough to tell.
                if code_of(error) not in codes or look == 10:
                    raise
            time.sleep(LOOK_S)

    def again_or_gone(self, codes, operation, **asked):
        try:
            return self.again(codes, operation, **asked) is not None
        except ClientError as error:
            if code_of(error) in NOT_FOUND:
                return False
            raise

    def wait(self, state, pending, target):
        """Looks until it is as wanted; a state that is neither is the end of it, as it is for the provider."""
        for _ in range(LOOKS):
            now = state()
            if now in target:
                return
            if now not in pending:
                raise Wrong(f"unexpected state {now!r}, wanted {target}")
            time.sleep(LOOK_S)
        raise Wrong(f"still {now!r}, wanted {target}")

    def tag(self, arn, before, wanted):
        removed = [key for key in before if key not in wanted]
        if removed:
            self.ask("untag_resource", Resource=arn, TagKeys=removed)
        added = {key: value for key, value in wanted.items() if before.get(key) != value}
        if added:
            self.ask("tag_resource", Resource=arn, Tags=added)

    # Scenarios.

    def play(self, scenario):
        """One acceptance test: its steps, and in the end everything is destroyed in the order that needs no force."""
        self.scenario, self.step, self.made = scenario.__name__, 0, []
        before = len(self.failed)
        try:
            scenario(self)
        except (ClientError, Wrong, KeyError, AssertionError) as why:
            self.holds("goes on to its end", False, f"{type(why).__name__}: {why}")
        for resource in reversed(self.made):
            try:
                resource.destroy()
            except (ClientError, Wrong, KeyError) as why:
                self.holds(f"{resource.kind.name} is destroyed", False, f"{type(why).__name__}: {why}")
        return len(self.failed) == before

    def holds(self, what, holds, detail=""):
        self.step += 1
        self.check(f"{self.scenario} {self.step}: {what}", holds, detail)

    def is_so(self, what, found, wanted):
        self.holds(what, found == wanted, f"{found!r} and not {wanted!r}")

    def refuses(self, what, operation, text, codes, **asked):
        """It is refused with this in the text."""
        if self.scenario.startswith("Refused_"):
            self.refused.append(what)
        try:
            self.ask(operation, **asked)
        except ClientError as error:
            said = error.response["Error"].get("Message", "")
            self.holds(what, code_of(error) in codes and text in said, f"{code_of(error)}: {said}")
        else:
            self.holds(what, False, "it was accepted")

    def resource(self, kind, **configured):
        """Applies the first configuration of a resource."""
        made = Resource(self, kind())
        self.made.append(made)
        made.apply(**configured)
        return made


class Resource:
    def __init__(self, tf, kind):
        self.tf, self.kind, self.id, self.state = tf, kind, None, None

    def __getitem__(self, attribute):
        return self.state[attribute]

    def apply(self, **configured):
        """One step: what is configured is made so, and then nothing is left to do."""
        plan = {**self.kind.attributes, **configured}
        assert set(plan) == set(self.kind.attributes), f"no such attributes: {set(plan) - set(self.kind.attributes)}"
        before = self.state
        # What is left to AWS stays as it is.
        if before:
            plan = {name: before[name] if value is COMPUTED else value for name, value in plan.items()}
        replaced = before and any(before[name] != plan[name] for name in self.kind.forces_new)
        if replaced:
            self.kind.delete(self.tf, self.id, before)
            plan = {**self.kind.attributes, **configured}
        if before is None or replaced:
            self.id = self.kind.create(self.tf, plan)
        elif self.differences(plan):
            self.kind.update(self.tf, self.id, before, plan)
        kept = {**plan, **{"uuid": self.id}}
        self.state = self.kind.read(self.tf, self.id, kept)
        self.tf.holds(f"{self.kind.name} is there", self.state is not None)
        if self.state is None:
            raise Wrong(f"{self.kind.name} {self.id} is not there once it is made")
        self.tf.holds(f"{self.kind.name} is as planned", not self.differences(plan), self.differences(plan))
        self.settled()

    def differences(self, plan):
        return {
            name: (self.state[name], value)
            for name, value in plan.items()
            if value is not COMPUTED and self.state[name] != value
        }

    def settled(self):
        """A refresh changes nothing."""
        self.tf.is_so(f"{self.kind.name} reads the same again", self.kind.read(self.tf, self.id, self.state), self.state)

    def imported(self):
        """Read with nothing but its name, it is the same, but for what no answer tells."""
        named = {name: self.state[name] for name in self.kind.key}
        found = self.kind.read(self.tf, self.id, named) or {}
        known = {name: value for name, value in self.state.items() if name not in self.kind.kept}
        for name, value in known.items():
            if name == "function_name" and str(found.get(name)).endswith(f":{value}"):
                # A name or its ARN.
                continue
            self.tf.is_so(f"{self.kind.name} is imported with its {name}", found.get(name), value)

    def has(self, **wanted):
        for name, value in wanted.items():
            self.tf.is_so(f"{name}", self.state[name], value)

    def disappears(self):
        """Somebody else deletes it: the next read finds nothing, and another delete is no error."""
        self.kind.delete(self.tf, self.id, self.state)
        self.tf.is_so(f"{self.kind.name} is gone", self.kind.read(self.tf, self.id, self.state), None)

    def is_gone(self):
        self.tf.is_so(f"{self.kind.name} went with it", self.kind.read(self.tf, self.id, self.state), None)

    def destroy(self):
        if self.state is None:
            return
        self.kind.delete(self.tf, self.id, self.state)
        self.tf.is_so(f"{self.kind.name} is destroyed", self.kind.read(self.tf, self.id, self.state), None)
