"""Runs modules of Debian's python test suite and prints each test's outcome, sorted, without times.

What the tests themselves print goes to a file, which is looked at only when a test fails.
"""
import os
import sys
import unittest

outcomes = {}


class Outcomes(unittest.TestResult):
    def note(self, test, what, detail=None):
        outcomes[test.id() if not hasattr(test, "test_case") else test.test_case.id() + " subtest"] = what
        if detail:
            print("=== %s %s\n%s" % (what, test, self._exc_info_to_string(detail, test)), file=log, flush=True)

    def startTest(self, test):
        super().startTest(test)
        print("start", test.id(), file=log, flush=True)

    def addSuccess(self, test):
        outcomes.setdefault(test.id(), "ok")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped")

    def addError(self, test, error):
        super().addError(test, error)
        self.note(test, "ERROR", error)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.note(test, "FAIL", error)

    def addExpectedFailure(self, test, error):
        self.note(test, "expected failure")

    def addUnexpectedSuccess(self, test):
        self.note(test, "unexpected success")

    def addSubTest(self, test, subtest, error):
        if error:
            self.note(subtest, "FAIL", error)


if __name__ == "__main__":
    log = open("log", "w")
    real = os.dup(1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    result = Outcomes()
    from test import support
    support.verbose = 0
    support.use_resources = ["subprocess"]
    for module in sys.argv[1:]:
        suite = unittest.defaultTestLoader.loadTestsFromName(module)
        suite.run(result)
    sys.stdout.flush()
    os.dup2(real, 1)
    for name in sorted(outcomes):
        print(outcomes[name], name)
    print(len(outcomes), "tests")
