"""Puts the others in order: pull, plan, push; the commands; the long-lived process."""
