"""Where trainings and predictions run: sandboxed processes on this machine."""
