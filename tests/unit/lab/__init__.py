"""The lab's parts, without starting one."""
