"""Boot 2, after the reboot: what runs again. Then objects come and go until the power is cut."""

from __future__ import annotations

from pathlib import Path

import guest

MARKS = Path("/srv/marks")


def job() -> None:
    agent = guest.Agent()
    agent.until_ready()
    agent.until_phase("stays", "Running")
    guest.eventually(lambda: "stays started" in guest.marks(MARKS)[-1:], "it says that it started")
    guest.say(
        "after",
        boot=guest.boot_id(),
        marks=guest.marks(MARKS),
        status=agent.statuses(),
        units={unit: guest.unit_state(unit) for unit in guest.UNITS},
        failed=guest.failed_units(),
    )
    guest.say("shutdown", text=guest.run("journalctl", "--no-pager", "-b", "-1", "-n", "60", "-o", "short-monotonic"))
    guest.save_journal()
    agent.apply(guest.container("task", "exec sleep 100000", restartPolicy="Never"))
    guest.say("task", **agent.until_phase("task", "Running"))
    number = 0
    while True:
        number += 1
        agent.apply(guest.container(f"churn-{number}", f"echo churn-{number} >>/marks/churn; exec sleep 100000"))
        guest.say("declared", name=f"churn-{number}")
        if number > 3:
            agent.delete(f"churn-{number - 3}")
            guest.say("deleted", name=f"churn-{number - 3}")


if __name__ == "__main__":
    guest.main(job)
