"""The keeper: a small process between the agent and one command, which sees to it that nothing of the command is left.

It is a program of its own (`python -I -S keeper.py FD CGROUP`) and imports nothing of ours. FD is a socket to the
agent. One order comes over it, with the command's three descriptors; then the keeper starts the command in a session of
its own and waits. It is the *subreaper* of everything below it (prctl(2)): processes whose parents have ended become
its children, whatever session they moved to, so "no children" means that all are gone. It ends them all when

- the command itself has ended (what it left in the background goes, too),
- the time is over: SIGTERM first, SIGKILL after the grace,
- there are more processes and threads than allowed,
- the agent says so, or is gone: its end of the socket is closed, however it died.

Against forks that are faster than any watching there is a hard limit, too: a cgroup (pids.max), or for others than
root RLIMIT_NPROC. CGROUP is the one to make and to live in, or empty. To join one takes 10 ms and more (the kernel
waits for all processors), so that is done before there is an order, and the command is born into it. The agent removes
it, or, if that is gone, the keeper.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import pwd
import resource
import select
import signal
import socket
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any

PR_SET_CHILD_SUBREAPER = 36

# How often processes are counted: 0.4% of a core where there is a hard limit, too, and 1% where counting is all there
# is. More seldom, up to the last, if counting takes more than a twentieth of the time.
TICK_S = 0.1
TICK_UNHELD_S = 0.025
TICK_MAX_S = 0.25
SWEEP_TICK_S = 0.002

# After so long the end is told even if something could not be ended: a program of another user, or a dead disk.
STUBBORN_S = 5.0

# What Python ignores, and what the keeper ignores because the agent decides.
IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)

ORDER_DESCRIPTORS = 3

# Most kernels (CONFIG_PROC_CHILDREN) do.
LISTS_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def become_subreaper() -> None:
    """From now on orphans among our descendants become our children. Raises OSError where Linux does not allow it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(root: int) -> tuple[list[int], int]:
    """(all processes below `root`, how many threads they have together), but for what starts or ends meanwhile."""
    found: list[int] = []
    tasks = 0
    waiting, _ = children(root)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        below, threads = children(pid)
        tasks += max(1, threads)
        waiting += below
    return found, tasks


def children(pid: int) -> tuple[list[int], int]:
    """(the children of a process, how many threads it has itself); nothing of one that is gone."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return [], 0
    if not LISTS_CHILDREN:
        return [child for child, parent in parents() if parent == pid], len(threads)
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
        except OSError:  # it ended
            continue
    return found, len(threads)


def parents() -> Iterator[tuple[int, int]]:
    """(process, its parent) for all there are: slower, for kernels that list no children."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                yield int(name), int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue


def tasks_of_user(uid: int) -> int:
    """How many processes and threads a user has; what RLIMIT_NPROC is measured against."""
    tasks = 0
    for entry in os.scandir("/proc"):
        try:
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                tasks += len(os.listdir(f"/proc/{entry.name}/task"))
        except OSError:
            continue
    return tasks


class Cgroup:
    """A cgroup for a keeper and its command, of version 1 or 2: the kernel refuses forks over its limit."""

    def __init__(self, path: str) -> None:
        self._path = path
        os.mkdir(path)
        self._write("cgroup.procs", "0")

    def limit(self, tasks_max: int) -> None:
        """Allow so many processes and threads, the keeper included."""
        self._write("pids.max", str(tasks_max))

    def pids(self) -> set[int]:
        """Who is in it, but for the keeper."""
        try:
            with open(f"{self._path}/cgroup.procs") as file:
                return {int(line) for line in file} - {os.getpid()}
        except OSError:
            return set()

    def has_refused(self) -> bool:
        """Whether the limit was reached."""
        try:
            with open(f"{self._path}/pids.events") as file:
                return any(line.startswith("max ") and line.split()[1] != "0" for line in file)
        except OSError:
            return False

    def remove(self) -> None:
        """Leave it, to where the agent was, and remove it."""
        parent = os.path.dirname(self._path)
        for place in (parent, f"{parent}/relay-agent"):  # of version 1 and of version 2, see cgroups.py
            with contextlib.suppress(OSError):
                self._write(f"{place}/cgroup.procs", "0")
                os.rmdir(self._path)

    def _write(self, name: str, text: str) -> None:
        with open(os.path.join(self._path, name), "w") as file:
            file.write(text)


class Keeper:
    """One command, from its order to its end. `control` is the socket to the agent."""

    def __init__(self, control: socket.socket, cgroup: Cgroup | None, order: dict[str, Any], rest: bytes) -> None:
        self._control = control
        self._order = order
        self._received = bytearray(rest)
        self._cgroup = cgroup
        self._pid = 0
        self._status: int | None = None
        self._reason = ""
        self._kill_at: float | None = None
        self._sweeping_since: float | None = None
        held = cgroup is not None or os.getuid() != 0 or order["run_as"] not in (None, "root")
        self._shortest_tick_s = self._tick_s = TICK_S if held else TICK_UNHELD_S
        self._reported = False
        self._connected = True

    def run(self, descriptors: list[int]) -> bool:
        """Start the command and stay until nothing of it is left. Whether the agent is still there then."""
        try:
            if self._cgroup is not None:
                self._cgroup.limit(self._tasks_max)
            self._pid = self._start(descriptors)
        except OSError as error:
            self._report({"failed": error.filename or "fork", "sentence": error.strerror or str(error)})
        for descriptor in descriptors:
            os.close(descriptor)
        if self._pid:
            self._report({"started": self._pid})
            self._keep()
            self._report_end(0)
        return self._connected

    @property
    def _tasks_max(self) -> int:
        """The hard limit. Twice what is allowed: watching comes first, and says why."""
        return 2 * int(self._order["processes_max"]) + 8

    def _start(self, descriptors: list[int]) -> int:
        """Returns its process id. Raises OSError: `filename` is the step that failed, `strerror` how."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            step = ["the start"]
            try:
                self._become(descriptors, step)
            except BaseException as error:
                text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                os.write(writer, f"{step[0]}\0{text}".encode()[:2048])
            finally:
                os._exit(127)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            failure = pipe.read().decode()
        if failure:
            os.waitpid(pid, 0)
            step_name, _, sentence = failure.partition("\0")
            raise OSError(0, sentence, step_name)
        return pid

    def _become(self, descriptors: list[int], step: list[str]) -> None:
        """In the new process: everything between fork and exec. `step` tells what is being done."""
        order = self._order
        os.setsid()
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
        if order["tty"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        step[0] = "user"
        self._change_user()
        step[0] = "directory"
        os.chdir(order["directory"])
        step[0] = "program"
        os.setpriority(os.PRIO_PROCESS, 0, order["nice"])
        for number in (*IGNORED, *OURS, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.execvpe(order["argv"][0], order["argv"], order["environment"])

    def _change_user(self) -> None:
        name = self._order["run_as"]
        account = pwd.getpwnam(name) if name is not None else None
        uid = account.pw_uid if account is not None else os.getuid()
        if uid != 0 and self._cgroup is None:
            self._limit_tasks(tasks_of_user(uid) + self._tasks_max)
        if account is not None and (uid != os.getuid() or os.getgid() != account.pw_gid):
            os.initgroups(account.pw_name, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(uid)

    @staticmethod
    def _limit_tasks(tasks_max: int) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        most = tasks_max if hard == resource.RLIM_INFINITY else min(tasks_max, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))

    def _keep(self) -> None:
        order = self._order
        time_limit_s = order["time_limit_s"]
        over_at = time.monotonic() + time_limit_s if time_limit_s else None
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(_child_signals(), select.POLLIN)
        while self._reap():
            now = time.monotonic()
            if over_at is not None and now >= over_at:
                over_at = None
                self._end("time", "TERM")
            if self._status is not None or (self._kill_at is not None and now >= self._kill_at):
                self._sweep(now)
            else:
                self._count()
            for descriptor, _ in poll.poll(self._wait_ms(over_at)):
                if descriptor == self._control.fileno():
                    if not self._listen():
                        poll.unregister(self._control)
                else:
                    os.read(descriptor, 4096)

    def _wait_ms(self, over_at: float | None) -> float:
        wait_s = SWEEP_TICK_S if self._sweeping_since is not None else self._tick_s
        for at in (over_at, self._kill_at if self._sweeping_since is None else None):
            if at is not None:
                wait_s = min(wait_s, max(0.0, at - time.monotonic()))
        return wait_s * 1000 + 0.5

    def _reap(self) -> bool:
        """Bury the dead. False once there are no children any more, neither ours nor adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._status = status

    def _count(self) -> None:
        begun_at = time.process_time()  # a machine that is busy with forks must not slow this down
        _, tasks = descendants(os.getpid())
        self._tick_s = min(TICK_MAX_S, max(self._shortest_tick_s, 20 * (time.process_time() - begun_at)))
        if tasks > self._order["processes_max"] or self._was_refused():
            self._reason = self._reason or "processes"
            self._kill_at = time.monotonic()
            self._sweep(self._kill_at)

    def _was_refused(self) -> bool:
        return self._cgroup is not None and self._cgroup.has_refused()

    def _sweep(self, now: float) -> None:
        """Kill everything that is there now; the loop does it again until nothing is."""
        self._sweeping_since = self._sweeping_since or now
        found, _ = descendants(os.getpid())
        for pid in {*found, *(self._cgroup.pids() if self._cgroup is not None else ())}:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:  # it ended, or is another user's
                continue
        if now - self._sweeping_since > STUBBORN_S:
            self._report_end(len(found))

    def _listen(self) -> bool:
        """Take what the agent says. False once it says nothing more."""
        try:
            data = self._control.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._connected = False
            self._kill_at = time.monotonic()
            return False
        self._received += data
        while b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            message = json.loads(line)
            if "end" in message:
                self._end("", message["end"])
            elif message["signal"] == "KILL":
                self._kill_at = time.monotonic()
            else:
                self._signal(message["signal"])
        return True

    def _end(self, reason: str, name: str) -> None:
        self._reason = self._reason or reason
        self._signal(name)
        self._signal("CONT")
        at = time.monotonic() + self._order["grace_s"]
        self._kill_at = at if self._kill_at is None else min(at, self._kill_at)

    def _signal(self, name: str) -> None:
        if self._status is None:
            try:
                os.killpg(self._pid, signal.Signals[f"SIG{name}"])
            except OSError:
                pass  # none of the group is left, or it is another user's: the sweep will tell

    def _report_end(self, left: int) -> None:
        if self._reported:
            return
        self._reported = True
        if not self._reason and self._was_refused():
            self._reason = "processes"  # it ended for want of them before they were counted
        code = os.waitstatus_to_exitcode(self._status) if self._status is not None else -signal.SIGKILL
        self._report({"ended": code, "reason": self._reason, "left": left})

    def _report(self, message: dict[str, Any]) -> None:
        if self._connected:
            try:
                self._control.sendall(json.dumps(message).encode() + b"\n")
            except OSError:
                self._connected = False


def _child_signals() -> int:
    """A descriptor that can be read when a child has ended."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    return reader


def receive_order(control: socket.socket) -> tuple[dict[str, Any], list[int], bytes] | None:
    """(order, descriptors, what came behind it), or None if the agent ended before it had one."""
    received = bytearray()
    descriptors: list[int] = []
    while b"\n" not in received:
        data, new, _, _ = socket.recv_fds(control, 65536, ORDER_DESCRIPTORS)
        if not data:
            return None
        received += data
        for descriptor in new:
            os.set_inheritable(descriptor, False)
        descriptors += new
    line, _, rest = received.partition(b"\n")
    return json.loads(line), descriptors, bytes(rest)


def _made_cgroup(path: str) -> Cgroup | None:
    try:
        return Cgroup(path) if path else None
    except OSError as error:
        print(f"relay keeper: no cgroup: {error}; processes are only counted", file=sys.stderr)
        return None


def main() -> None:
    """Wait for an order and carry it out."""
    for number in OURS:
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    become_subreaper()
    cgroup = _made_cgroup(sys.argv[2])
    received = receive_order(control)
    connected = False
    if received is not None:
        order, descriptors, rest = received
        order["nice"] = os.getpriority(os.PRIO_PROCESS, 0)
        if os.geteuid() == 0:  # to be faster than what it has to end
            os.setpriority(os.PRIO_PROCESS, 0, -15)
        connected = Keeper(control, cgroup, order, rest).run(descriptors)
    if cgroup is not None and not connected:
        cgroup.remove()


if __name__ == "__main__":
    main()
