module wxpay-worker

go 1.26
