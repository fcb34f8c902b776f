module assayclient

go 1.21
