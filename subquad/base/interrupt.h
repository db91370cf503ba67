// Ctrl-C and termination as a flag that long loops look at.
#pragma once

namespace subquad {

// To be called first in main, before any thread starts. SIGINT and SIGTERM set the flag; a second
// SIGINT ends the process with 130.
void install_interrupt_handler();
bool interrupted();

}  // namespace subquad
