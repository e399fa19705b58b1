pytest_plugins = ["fix_postgres", "fix_proxy", "fix_session", "fix_log", "fix_undo"]
