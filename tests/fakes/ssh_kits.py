"""An SSH kit in memory: there, until somebody says that it is not."""

from agent.core.ssh_kit import KitTrouble, SshKit


class FakeSshKits:
    """`builds` counts those built: each is another kit."""

    def __init__(self) -> None:
        self.builds = 1
        self.is_damaged = False

    async def look(self) -> SshKit | KitTrouble:
        if self.builds == 0:
            return KitTrouble("there is no SSH kit in /kits", "Run `gpu-agent kit build` on this host.")
        kit = SshKit(f"/kits/{self.builds:032x}", f"{self.builds:032x}", "dropbear 1", "lib/ld.so")
        if self.is_damaged:
            return KitTrouble(
                f"the SSH kit {kit.path} can't be used: it is damaged",
                "Run `gpu-agent kit build` on this host.",
            )
        return kit
