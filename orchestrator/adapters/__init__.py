"""One file per system outside: the ports, for real. The only place with sockets, SDKs and programs."""
