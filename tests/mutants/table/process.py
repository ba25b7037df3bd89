"""The relay as a process: what lives on without an agent, what moves to another relay, what is refused."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

PROCESS = "tests/relay/test_process.py"
CLIENT = "tests/relay/test_client.py"
CONTROL = "agent/relay/control.c"
FILE = "agent/relay/image_file.c"
SUPERVISOR = "agent/tidegate/supervise/supervisor.py"
ADOPTED = f"{CLIENT}::test_the_next_agent_goes_on_with_the_relay_that_runs"
REPLACED = f"{CLIENT}::test_a_relay_of_another_version_takes_over_and_the_old_one_finishes"
GOES_ON = f"{CLIENT}::test_an_agent_that_dies_while_listeners_move_is_followed_by_one_that_goes_on"
MOVED = f"{PROCESS}::test_listeners_move_to_another_relay_and_nothing_is_refused"
IMAGES = f"{PROCESS}::test_images_that_are_no_good_are_refused_and_the_old_one_stays"

_LIVES = Group(
    "kill -9, restart and upgrade of the agent: no connection is lost, no event, no listener",
    (
        Mutant(
            "relay-dies-with-the-agent",
            "every agent replaces the relay of the one before",
            "agent/tidegate/relay/supervisor.py",
            "repr((image, CONFINED, self.config))",
            "repr((os.urandom(8), image, CONFINED, self.config))",
            (ADOPTED,),
        ),
        Mutant(
            "agent-that-stops-takes-the-relay-along",
            "a restart of the agent ends all connections",
            SUPERVISOR,
            "                process.abandon()\n\n    # ---",
            "                process.signal(signal.SIGKILL)\n\n    # ---",
            (ADOPTED,),
            raises=("ConnectionRefusedError",),
        ),
        Mutant(
            "events-go-with-the-agent",
            "what an agent was told and did not take is told to nobody",
            CONTROL,
            "\tcontrol->follower = peer;\n\tcontrol->batch_sent = false;\n",
            "\tcontrol->follower = peer;\n\tcontrol->batch_sent = false;\n\tcontrol->batch_count = 0;\n",
            (f"{PROCESS}::test_events_that_an_agent_did_not_take_are_told_to_the_next",),
        ),
        Mutant(
            "old-map-stays",
            "a relay looks connections up in the map of an agent that is gone",
            "agent/relay/engine.c",
            "\treturn dup3(flows_fd, config->flows_fd, O_CLOEXEC) < 0 ? -errno : 0;\n",
            "\treturn flows_fd < 0 && engine ? -errno : 0;\n",
            (f"{PROCESS}::test_a_map_is_exchanged_under_a_running_relay",),
        ),
        Mutant(
            "other-ports-after-a-death",
            "a relay that takes a killed one's place listens elsewhere than the kernel sends connections to",
            "agent/relay/sandbox.c",
            "\tint fd = make_listener(addr, wanted_be);\n",
            "\tint fd = make_listener(addr, 0);\n",
            (
                f"{PROCESS}::test_a_killed_relays_ports_are_taken_again",
                f"{CLIENT}::test_a_killed_relay_is_replaced_and_gets_the_same_ports",
            ),
        ),
    ),
)

_MOVES = Group(
    "the relay is upgraded: no new connection is refused, the old ones finish",
    (
        Mutant(
            "old-relay-is-ended",
            "a relay of another version ends all connections",
            "agent/tidegate/relay/supervisor.py",
            "    overlaps = True\n",
            "    overlaps = False\n",
            (REPLACED,),
            raises=("ConnectionRefusedError", "ConnectionResetError"),
        ),
        Mutant(
            "retired-relay-taken-for-a-stray",
            "the agent after next kills a relay that still drains",
            SUPERVISOR,
            "strays = self._cgroup.kill_others({*self._retired, *([process.pid] if process else [])})",
            "strays = self._cgroup.kill_others([process.pid] if process else [])",
            (GOES_ON,),
            raises=("ConnectionRefusedError", "ConnectionResetError"),
        ),
        Mutant(
            "listeners-do-not-move",
            "a relay of another version never accepts where the old one did",
            "agent/tidegate/relay/client.py",
            "                await self._move(old, relay)\n",
            "                pass\n",
            (REPLACED, GOES_ON),
            raises=("ConnectionRefusedError", "ConnectionResetError"),
        ),
        Mutant(
            "queue-forgotten",
            "connections that wait when a relay lets go wait until another one comes",
            "agent/relay/sandboxes.c",
            "struct fp_sandbox *sandbox = engine->draining ? NULL : engine->sandboxes;",
            "struct fp_sandbox *sandbox = NULL;",
            (f"{PROCESS}::test_what_waits_in_a_queue_when_a_relay_lets_go_is_accepted_by_the_next",),
        ),
        Mutant(
            "drained-relay-stays",
            "a relay that has no connection left never ends",
            CONTROL,
            "\tif (!control->draining || (control->engine && !fp_engine_is_over(control->engine)))\n",
            "\tif (control->draining || !control->draining)\n",
            (MOVED, REPLACED),
        ),
        Mutant(
            "second-deadline-ignored",
            "a relay that drains cannot be told to hurry",
            "agent/relay/loop.c",
            "\tfp_list_remove(&timer->node);\n\tstruct fp_node *before = timers->queue.prev;",
            "\tif (!fp_list_empty(&timers->queue))\n\t\treturn;\n\tstruct fp_node *before = timers->queue.prev;",
            (f"{PROCESS}::test_a_drained_relay_goes_after_its_deadline",),
        ),
        Mutant(
            "counters-go-back",
            "the metrics of connections forget those of a relay that has ended",
            "agent/tidegate/relay/client.py",
            "            self._ended = self._ended + replace(stats, active=0)\n",
            "            pass\n",
            (f"{CLIENT}::test_a_killed_relay_is_replaced_and_gets_the_same_ports", REPLACED),
        ),
    ),
)

_REFUSES = Group(
    "what the relay is asked wrongly changes nothing",
    (
        Mutant(
            "image-of-any-length",
            "an image with more in it than it says is taken",
            FILE,
            "\tif (at != size)\n",
            "\tif (at > size)\n",
            (IMAGES,),
            raises=("Transient",),
        ),
        Mutant(
            "image-that-can-change",
            "an image is used that its writer can change afterwards",
            "agent/relay/sealed.c",
            "\tif (seals < 0 || (seals & wanted) != wanted)\n",
            "\tif (seals < 0 && wanted == 0)\n",
            (f"{PROCESS}::test_an_image_that_somebody_could_change_is_refused",),
        ),
        Mutant(
            "message-of-any-size",
            "a message that is longer than its kind is taken",
            CONTROL,
            "\tif (request->size != shape->size)\n",
            "\tif (request->size < shape->size)\n",
            (f"{PROCESS}::test_messages_that_are_no_good_are_refused",),
        ),
        Mutant(
            "any-socket-is-a-listener",
            "a relay takes over sockets that listen elsewhere",
            "agent/relay/sandbox.c",
            "\treturn fp_addr_equal(&bound, addr) ? port_be : 0;\n",
            "\treturn fp_addr_equal(&bound, addr) || 1 ? port_be : 0;\n",
            (f"{PROCESS}::test_only_listeners_on_the_capture_addresses_are_taken",),
        ),
        Mutant(
            "core-only-not-kept",
            "an agent of another version is served with layouts that are not its own",
            CONTROL,
            "\tif (!shape->core && peer->version != FP_ABI_VERSION)\n",
            "\tif (!shape->core && !peer->version)\n",
            (f"{PROCESS}::test_an_agent_of_another_version_gets_the_core",),
        ),
        Mutant(
            "descriptors-kept",
            "descriptors of refused requests stay open until the relay has none left",
            "agent/relay/main.c",
            "\t\tfp_packet_close(&request);\n",
            "",
            (f"{PROCESS}::test_messages_that_are_no_good_are_refused",),
        ),
    ),
)

GROUPS = (_LIVES, _MOVES, _REFUSES)
