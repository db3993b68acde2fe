#![no_main]

fewstep_fuzz::target!(cifar);
