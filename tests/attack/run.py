# SPDX-License-Identifier: BSD-2-Clause
"""run.py PROGRAM ATTACK [--only PATTERN] [--setting PATTERN] [--mutate] [--table FILE]

Runs every attack first where there is no wall, then in every setting, and speaks TAP. What a sniffer
outside saw is the verdict; an attack that gets nothing out without a wall proves nothing and is
skipped."""
import argparse
import contextlib
import fnmatch
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import arena  # noqa: E402
import admitted  # noqa: E402
import bottles  # noqa: E402
import harness  # noqa: E402
import oracle  # noqa: E402
import world as w  # noqa: E402

AT_ONCE = 8  # in each of the settings that run beside each other
LANES = [("exec-nobody", "exec-root"), ("own",), ("wire",), ("shared",)]
CLONE_NEWPID = 0x20000000


class Attack:
    def __init__(self, line, language):
        self.name, flags, self.purpose = line.rstrip("\n").split("\t")
        self.flags, self.language = flags.split(), language

    def argv(self, world):
        return ([world.path("attack")] if self.language == "c"
                else [arena.PYTHON, "-B", world.path("attacks.py")]) + [self.name]


def known_attacks(world):
    found = []
    for language, command in (("c", [world.path("attack")]),
                              ("python", [arena.PYTHON, "-B", world.path("attacks.py")])):
        out = subprocess.run([*command, "--list"], check=True, capture_output=True, text=True)
        found += [Attack(line, language) for line in out.stdout.splitlines()]
    return sorted(found, key=lambda x: x.name)


class Tap:
    def __init__(self):
        self.number, self.bad, self.cells, self.lock = 0, 0, {}, threading.Lock()

    def line(self, ok, text, *more):
        with self.lock:
            self.number += 1
            self.bad += not ok
            print(f"{'ok' if ok else 'not ok'} {self.number} - {text}", *more, sep="\n# ",
                  flush=True)


class Floor:
    """Many at a time, or one that is alone: in its setting, whose network no other setting has."""

    def __init__(self):
        self.changed, self.many, self.alone_wanted, self.taken = threading.Condition(), 0, 0, False

    @contextlib.contextmanager
    def together(self):
        with self.changed:
            self.changed.wait_for(lambda: not self.taken and not self.alone_wanted)
            self.many += 1
        try:
            yield
        finally:
            with self.changed:
                self.many -= 1
                self.changed.notify_all()

    @contextlib.contextmanager
    def alone(self):
        with self.changed:
            self.alone_wanted += 1
            self.changed.wait_for(lambda: not self.taken and not self.many)
            self.alone_wanted -= 1
            self.taken = True
        try:
            yield
        finally:
            with self.changed:
                self.taken = False
                self.changed.notify_all()


class Outcome:
    def __init__(self, target, status, output, evidence):
        self.target, self.status, self.output = target, status, output
        self.leaked, self.evidence = evidence is not None, evidence

    def why(self):
        lines = [x for x in self.output.splitlines() if x.strip()]
        return lines[-1][:160] if lines else f"exit status {self.status}, no word"


FLOORS = {}


def one(world, place, attack, user):
    floor = FLOORS.setdefault(place.name, Floor())
    with floor.alone() if {"serial", "breaks"} & set(attack.flags) else floor.together():
        began = time.monotonic()
        result = launch(world, place, attack, user)
    if time.monotonic() - began > 8:
        print(f"# slow: {place.name} {user} {attack.name} {time.monotonic() - began:.1f} s: "
              f"{result[2][-200:]!r}", flush=True)
    return result


def launch(world, place, attack, user):
    target = arena.Target()
    env = {**place.environment(), **target.environment()}
    if "prejoin" in attack.flags:
        return (target, *place.adopt(attack.argv(world), user, env,
                                     lambda: "inbound" in attack.flags and world.knock(target.port, place.address)))
    if "inbound" in attack.flags:
        world.knock(target.port, place.address)
    if "squatted" in attack.flags:
        with world.squatters(env["PROXY_PORT"], env["DNS_PORT"]):
            return (target, *place.do(attack.argv(world), user, env))
    before = place.records() if "residue" in attack.flags else 0
    status, output = place.do(attack.argv(world), user, env)
    if "residue" in attack.flags:
        more = place.records() - before
        output += f"\n{'BREACH: ' if more > 100 else ''}{more} records stay"
    return target, status, output


def evidence_of(world, attack, target, output):
    if "inside" in attack.flags:
        found = [x for x in output.splitlines() if x.startswith("BREACH")]
        if found:
            return found[0].encode()
    if "http" in attack.flags:
        return world.oracle.saw(target)
    return world.watch.saw(target)


def volley(world, place, shots):
    """All of them, each an attack and a user; {(name, user): Outcome}."""
    # what nobody broke nevertheless, the attacks behind it would show
    breaking = [x for x in shots if "breaks" in x[0].flags and x[1] != "nobody"]
    alone = [x for x in shots if "serial" in x[0].flags and x not in breaking]
    together = [x for x in shots if x not in breaking and x not in alone]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(zip(together, pool.map(lambda x: one(world, place, *x), together)))
    done += [(x, one(world, place, *x)) for x in alone]
    world.watch.settle()
    for shot in breaking:
        done.append((shot, one(world, place, *shot)))
        world.watch.settle()
        if isinstance(place, bottles.Run):
            dead = place.dead
            place.renew()
            if dead:
                place.kill()
    world.oracle.look()
    return {(x.name, user): Outcome(t, s, o, evidence_of(world, x, t, o))
            for (x, user), (t, s, o) in done}


def runs_as(attack, user, users):
    return "once" not in attack.flags or user == users[-1]


def baseline(world, attacks, tap):
    """{name: users for whom it gets out without a wall}."""
    place = bottles.Open(world)
    able = {x.name: set() for x in attacks}
    why = {}
    try:
        shots = [(x, user) for user in place.users for x in attacks
                 if runs_as(x, user, place.users)]
        once = {x.name for x in attacks if "once" in x.flags}
        for (name, user), outcome in volley(world, place, shots).items():
            if outcome.leaked:
                able[name].update(place.users if name in once else [user])
            elif user == "root" or name in once:
                why[name] = outcome.why()
    finally:
        place.end()
    for attack in attacks:
        if "masked" in attack.flags:  # has no meaning without a wall; --mutate proves it
            able[attack.name] = set(place.users)
        elif not able[attack.name]:
            tap.line(True, f"{attack.name} # SKIP {attack.name}: gets nothing out without a wall: "
                     f"{why.get(attack.name, 'no reason known')}")
    return able


def judge(tap, place, phase, user, attack, outcome):
    setting = place.name.partition("-")[0]
    reason = admitted.reason(setting, user, attack.name, place.lacks)
    cell = tap.cells.setdefault(attack.name, {})
    key = (place.name if setting == "exec" else f"{place.name}-{user}")
    label = f"{key}{phase}: {attack.name}"
    if outcome.leaked and reason:
        tap.line(True, f"{label}: gets out, as documented: {reason}")
        cell[key] = f"out: {reason}"
    elif outcome.leaked:
        tap.line(False, f"{label}: {attack.purpose}", f"seen outside: {outcome.evidence[:120]!r}",
                 f"it said: {outcome.why()}")
        cell[key] = "LEAK"
    else:
        tap.line(True, label)
        cell.setdefault(key, f"held: {outcome.why()}")


def trial(world, tap, place, attacks, able, phase="", users=None):
    users = users or place.users
    shots = [(x, user) for user in users for x in attacks if user in able[x.name]
             and x.fits(place, phase) and runs_as(x, user, users)]
    results = volley(world, place, shots)
    for attack, user in shots:
        judge(tap, place, phase, user, attack, results[attack.name, user])


def fits(attack, place, phase):
    setting = place.name.partition("-")[0]
    only = [x for x in attack.flags if x in ("own", "shared", "exec")]
    if only and (setting if setting != "wire" else "own") not in only:
        return False
    if "dead" in attack.flags and phase != " (dead)":
        return False
    if "alive" in attack.flags and phase == " (dead)":
        return False
    return True


Attack.fits = fits


def dies_with_us(world, tap, place):
    """Without its supervisor an exec's command ends, and sends nothing on the way."""
    target = arena.Target()
    endless = ("import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
               "while True:\n  try: s.sendto(b'%s', ('%s', %d))\n  except OSError: pass\n"
               "  time.sleep(0.001)" % (target.mark, "198.51.100.77", target.port))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(place.do, [arena.PYTHON, "-c", endless], place.users[0], {}, 6)
        time.sleep(0.5)
        place.agent.kill()
        status, output = answer.result()
    world.watch.settle()
    tap.line(output == "no answer" and not world.watch.saw(target),
             f"{place.name}: killed with -9, its command ends at once and nothing gets out")


def settings(world, wanted):
    makers = [("exec-nobody", lambda: bottles.Exec(world, "nobody")),
              ("exec-root", lambda: bottles.Exec(world, "root")),
              ("own", lambda: bottles.Own(world, "own")),
              ("wire", lambda: bottles.Wired(world, "wire")),
              ("shared", lambda: bottles.Shared(world, "shared"))]
    return [(name, make) for name, make in makers if fnmatch.fnmatch(name, wanted)]


def one_setting(world, tap, attacks, able, make):
    began = time.monotonic()
    place = make()
    try:
        trial(world, tap, place, attacks, able)
        if isinstance(place, bottles.Run):
            place.kill()
            trial(world, tap, place, attacks, able, " (dead)", place.users_dead)
        else:
            dies_with_us(world, tap, place)
    finally:
        place.end()
    print(f"# {place.name}: {time.monotonic() - began:.1f} s", flush=True)


def all_settings(world, tap, attacks, able, wanted):
    makers = dict(settings(world, wanted))

    def lane(names):
        for name in names:
            if name in makers:
                one_setting(world, tap, attacks, able, makers[name])
    assert {x for names in LANES for x in names} >= set(makers), "a lane for each setting"
    with ThreadPoolExecutor(len(LANES)) as pool:
        for done in [pool.submit(lane, names) for names in LANES]:
            done.result()


def mutate(world, tap, attacks, able, wanted):
    """Without any one program, some attack must get out or say BREACH."""
    if fnmatch.fnmatch("shared", wanted):
        mutate_setting(world, tap, attacks, able, bottles.Shared(world, "shared"),
                       lambda place: [(x, lambda x=x: place.detach(x)) for x in place.links()],
                       (("nobody", ""), ("root", ""), ("nobody", " (dead)")))
    if fnmatch.fnmatch("wire", wanted):
        mutate_setting(world, tap, attacks, able, bottles.Wired(world, "wire"),
                       lambda place: [(f"tc {x}", lambda x=x: place.unfilter(x))
                                      for x in ("ingress", "egress")], (("docker", " (dead)"),))
    if fnmatch.fnmatch("exec-nobody", wanted):
        mutate_exec(world, tap, [x for x in attacks if x.name.startswith("unix_relay_late")], able)


def mutate_exec(world, tap, attacks, able):
    """Programs that one exec has, taken off in one bottle each: it ends with them."""
    for program in ("unix_connect", "unix_send"):
        place = bottles.Exec(world, "nobody")
        try:
            if place.lacks:
                tap.line(True, f"without {program} # SKIP this kernel has none of that")
                continue
            os.unlink(place.pin(f"link-{program}"))
            time.sleep(0.3)  # the kernel detaches in its own time
            shots = [(x, "nobody") for x in attacks if "nobody" in able[x.name]]
            red = [n for (n, _), o in volley(world, place, shots).items() if o.leaked]
            tap.line(0 < len(red) < len(shots),
                     f"without {program}: {len(red)} of {len(shots)} attacks turn red: {', '.join(red)}")
        finally:
            place.end()


def mutate_setting(world, tap, attacks, able, place, mutations, stages):
    """`mutations(place)` gives the name of each program and what takes it off."""
    def choose(user, phase, known):
        return [(x, user) for x in attacks if user in able[x.name] and "breaks" not in x.flags
                and x.fits(place, phase) and not admitted.reason(place.name, user, x.name, ())
                and x.name not in known]
    known = set()  # what gets out of the whole wall shows nothing
    try:
        for user in {user for user, _ in stages}:
            known |= {n for (n, _), o in volley(world, place, choose(user, "", ())).items()
                      if o.leaked}
        for name, take_off in mutations(place):
            red = []
            take_off()
            for user, phase in stages:
                if phase:
                    place.kill()
                results = volley(world, place, choose(user, phase, known))
                red += [f"{user}{phase}: {n}" for (n, _), o in results.items() if o.leaked]
                if red:
                    break
            tap.line(bool(red), f"without {name}: {len(red)} attacks turn red: "
                     f"{', '.join(red[:6])}")
            place.renew()
    finally:
        place.end()


def write_table(path, attacks, able, cells):
    columns = sorted({key for row in cells.values() for key in row})
    with open(path, "w", encoding="utf-8") as file:
        file.write("| attack | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1) + "\n")
        for attack in attacks:
            row = cells.get(attack.name, {})
            if row:
                file.write(f"| `{attack.name}` {attack.purpose} | "
                           + " | ".join(row.get(c, "–").replace("|", "/") for c in columns) + " |\n")


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("attack")
    parser.add_argument("--only", default="*")
    parser.add_argument("--setting", default="*")
    parser.add_argument("--mutate", action="store_true")
    parser.add_argument("--table")
    return parser.parse_args()


def own_pid_namespace():
    """Attacks look for process 1 and its neighbours: those must be ours. Returns in the child."""
    w.unshare(w.CLONE_NEWNS | CLONE_NEWPID)
    w.mount("none", "/", None, w.MS_REC | w.MS_PRIVATE)
    child = os.fork()
    if child == 0:
        w.die_with_parent()
        w.mount("proc", "/proc", "proc")
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.kill(child, signal.SIGTERM))
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 255)


def main():
    options = parse()
    own_pid_namespace()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    world = arena.Arena(options.program, options.attack)
    world.oracle = oracle.Oracle()
    harness.world = world
    tap = Tap()
    world.build()
    try:
        attacks = [x for x in known_attacks(world)
                   if any(fnmatch.fnmatch(x.name, p) for p in options.only.split(","))]
        able = baseline(world, attacks, tap)
        print(f"# {len(attacks)} attacks, {sum(map(bool, able.values()))} work without a wall",
              flush=True)
        if options.mutate:
            mutate(world, tap, attacks, able, options.setting)
        else:
            all_settings(world, tap, attacks, able, options.setting)
        if options.table:
            write_table(options.table, attacks, able, tap.cells)
    finally:
        world.destroy()
    print(f"1..{tap.number}", flush=True)
    sys.exit(1 if tap.bad else 0)


if __name__ == "__main__":
    main()
