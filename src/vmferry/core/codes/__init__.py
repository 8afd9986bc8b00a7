"""The table of error codes: one place, so that no two places say the same thing in different words.

Its parts are modules only for their length; all codes are looked up here.
"""
# ruff: noqa: F403 -- the parts hold nothing but codes

from vmferry.core.codes.access import *
from vmferry.core.codes.carried import *
from vmferry.core.codes.checks import *
from vmferry.core.codes.delegation import *
from vmferry.core.codes.disks import *
from vmferry.core.codes.doctor import *
from vmferry.core.codes.files import *
from vmferry.core.codes.kerberos import *
from vmferry.core.codes.moves import *
from vmferry.core.codes.needs import *
from vmferry.core.codes.request import *
