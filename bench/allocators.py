"""The columns: which allocator is put in front of the programs, and how."""
import dataclasses
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
SYSTEM = "/usr/lib/x86_64-linux-gnu/"
OURS = str(ROOT / "build/libhshm_preload.so")

# Without it, programs linked with an allocator (Debian's redis-server with jemalloc) would use that
# one in the glibc column: libc in front makes its malloc the first one found.
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"


@dataclasses.dataclass(frozen=True)
class Allocator:
    name: str
    preload: str
    package: str = ""
    env: dict = dataclasses.field(default_factory=dict)
    segment: str = ""      # "" none, "cold" a fresh one per run, "warm" one that a living member keeps
    keeper_env: dict = dataclasses.field(default_factory=dict)

    @property
    def shares(self):
        """Whether one process may free what another allocated."""
        return bool(self.segment)

    def missing(self):
        return not pathlib.Path(self.preload).exists()

    def version(self):
        if not self.package:
            run = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                                 capture_output=True, text=True)
            return "commit " + (run.stdout.strip() or "unknown")
        run = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", self.package],
                             capture_output=True, text=True)
        return run.stdout.strip() or self.preload


RECLAIM = {"HSHM_EXIT": "reclaim"}
KEEP = {"HSHM_EXIT": "keep"}

# Huge pages are off for all, by prctl in measure; mimalloc is also told not to ask for them.
ALLOCATORS = [
    Allocator("glibc", LIBC, "libc6"),
    Allocator("jemalloc", SYSTEM + "libjemalloc.so.2", "libjemalloc2"),
    Allocator("mimalloc", SYSTEM + "libmimalloc.so.2.0", "libmimalloc2.0",
              {"MIMALLOC_ALLOW_LARGE_OS_PAGES": "0", "MIMALLOC_ALLOW_THP": "0"}),
    Allocator("tcmalloc", SYSTEM + "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
    Allocator("ours-private", OURS),
    Allocator("ours-cold", OURS, segment="cold"),
    Allocator("ours-warm", OURS, env=RECLAIM, segment="warm", keeper_env=RECLAIM),
    # The setting for trees of processes beside the default: for the cases that are such trees.
    Allocator("ours-cold-reclaim", OURS, env=RECLAIM, segment="cold"),
    # The default policy beside the one the target names; on demand (--alloc), and in --set full.
    Allocator("ours-warm-keep", OURS, env=KEEP, segment="warm", keeper_env=RECLAIM),
]
TREES = "ours-cold-reclaim"
STANDARD = [a.name for a in ALLOCATORS if a.name not in (TREES, "ours-warm-keep")]
BASELINE = "jemalloc"
