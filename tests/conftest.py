import os
import sys

pytest_plugins = ["fix_commands", "fix_postgres", "fix_proxy", "fix_session", "fix_log", "fix_undo"]

# Hundreds of processes of ours are started: none has to compile the program again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
