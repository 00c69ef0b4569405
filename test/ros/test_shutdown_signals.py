"""Signals: who takes them, and that nobody pulls ROS away under a thread that works with it."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import rclpy
from rclpy.signals import SignalHandlerOptions, get_current_signal_handlers_options

from geopurify_ros.ros.shutdown_signals import Interrupts, ros_session

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_a_signal_interrupts_what_has_not_begun_to_serve(number):
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert interrupts.is_asked


@BOTH
def test_a_signal_is_noted_by_who_looks_for_it(number):
    with Interrupts() as interrupts:
        interrupts.is_noting = True
        os.kill(os.getpid(), number)
        assert interrupts.is_asked


def test_the_handlers_before_are_back_after_the_block():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ZeroDivisionError), ros_session():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert not rclpy.ok()


def test_another_thread_may_have_a_session():
    seen = []

    def work() -> None:
        with ros_session():
            seen.append(rclpy.ok())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


@BOTH
def test_no_thread_of_rclpy_ends_the_context_on_a_signal(number):
    """Its handlers would, and crashed one of 3000 bare nodes that were destroyed meanwhile."""
    heard = []

    def interrupted() -> None:
        with ros_session():
            assert get_current_signal_handlers_options() == SignalHandlerOptions.NO
            rclpy.get_default_context().on_shutdown(lambda: heard.append(threading.get_ident()))
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert heard == [threading.get_ident()]
