"""The six roles: what each is shown, how it is asked, and how its reply is read."""
