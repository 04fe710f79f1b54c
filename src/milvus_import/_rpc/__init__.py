"""One RPC: the address, the channel, the options of a call, the call itself."""
