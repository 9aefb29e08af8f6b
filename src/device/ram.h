/* ram.h - how much host memory there is: the budget of software drivers and of the host back end. */
#ifndef DEVICE_RAM_H
#define DEVICE_RAM_H

#include <stdint.h>

/* Bytes installed and bytes that can be had now (both lowered by the limit of a control group); 0: not known. */
void ram_bytes(uint64_t *total, uint64_t *available);

#endif
