"""Boot 3, after the power cut: what runs again and what is told of what was lost. Then the product is taken away."""

from __future__ import annotations

from pathlib import Path

import guest

MARKS = Path("/srv/marks")


def job() -> None:
    agent = guest.Agent()
    agent.until_ready()
    agent.until_phase("stays", "Running")
    agent.until_phase("task", "Exited")
    guest.eventually(agent.settled, "everything that was declared runs, and what was deleted is gone")
    guest.say(
        "after",
        boot=guest.boot_id(),
        marks=guest.marks(MARKS),
        status=agent.statuses(),
        uids=agent.uids(),
        failed=guest.failed_units(),
        tasks=guest.ctr("task", "ls", "-q").split(),
        records=guest.ctr("container", "ls", "-q").split(),
        namespaces=sorted(path.name for path in Path("/run/setpoint/netns").iterdir()),
    )
    stays = agent.status("stays")["pid"]
    text = guest.run("setpoint", "uninstall")
    guest.say("uninstalled", text=text, alive=Path(f"/proc/{stays}").exists(), marks=guest.marks(MARKS), **guest.installation())
    guest.save_journal()
    guest.run("systemctl", "poweroff")


if __name__ == "__main__":
    guest.main(job)
